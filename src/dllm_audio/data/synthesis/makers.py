"""From what is known of a clip to questions and answers, and from good answers to wrong ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...errors import DataError
from ...files import parse_json
from ...prompts import AUDIO_PLACEHOLDER
from .generators import TextGenerator

_ATTEMPTS = 3
_JSON = re.compile(r"[\[{].*[\]}]", re.DOTALL)
_MARKER = re.compile(r"<\|[^|]*\|>")
# A wrong answer that is much longer or shorter gives itself away.
_LENGTH_RATIO = 2.0


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What is known of a clip, in words.

    Attributes:
        id: of the clip.
        audio: path of the clip.
        transcript: what is said, or None.
        caption: what is heard, for example ``[00:00-00:02] (Sigh)``, or None.
        attributes: of the speaker or the sound, by name.
    """

    id: str
    audio: str
    transcript: str | None = None
    caption: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """All facts, one a line."""
        lines = [f"Transcript: {self.transcript}"] if self.transcript else []
        lines += [f"Sounds: {self.caption}"] if self.caption else []
        return "\n".join([*lines, *(f"{k}: {v}" for k, v in self.attributes.items())])


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """A question about a clip and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Corruption:
    """A wrong answer, and what is wrong with it."""

    rejected: str
    explanation: str


class QuestionMaker(Protocol):
    """Asks questions about a clip."""

    name: str

    def __call__(self, facts: ClipFacts) -> list[QuestionAnswer]:
        """Questions with answers; raises DataError where it cannot."""
        ...


class AnswerCorrupter(Protocol):
    """Makes a good answer subtly wrong."""

    name: str

    def __call__(self, question: str, answer: str) -> Corruption:
        """A wrong answer; raises DataError where it cannot."""
        ...


class GeneratedQuestions:
    """Questions written by a text generator.

    Args:
        generator: any callable from prompt to completion.
        count: questions per clip.
        attempts: completions per clip until one is valid.
    """

    def __init__(self, generator: TextGenerator, count: int = 3, attempts: int = _ATTEMPTS) -> None:
        self.generator, self.count, self.attempts = generator, count, attempts
        self.name = f"questions:{_name_of(generator)}:{count}"

    def __call__(self, facts: ClipFacts) -> list[QuestionAnswer]:
        """Ask the generator, again where its answer is not valid."""
        prompt = (
            f"Here is what is known about an audio clip.\n\n{facts.describe()}\n\n"
            f"Write {self.count} different questions that a listener could ask about the clip, on "
            "what is said and on how it sounds, each with a short answer that the facts above "
            "support. Speak of the audio, never of the facts or a transcript. Reply with a JSON "
            'list only: [{"question": "...", "answer": "..."}]'
        )
        return _valid(self.generator, prompt, self.attempts, self._parse)

    def _parse(self, value: Any) -> list[QuestionAnswer]:
        if not isinstance(value, list) or len(value) != self.count:
            raise DataError(f"expected a list of {self.count} questions")
        made = [QuestionAnswer(_text(v, "question"), _text(v, "answer")) for v in value]
        if len({each.question for each in made}) != len(made):
            raise DataError("a question comes twice")
        return made


class GeneratedCorruptions:
    """Wrong answers written by a text generator.

    Args:
        generator: any callable from prompt to completion.
        attempts: completions per answer until one is valid.
    """

    def __init__(self, generator: TextGenerator, attempts: int = _ATTEMPTS) -> None:
        self.generator, self.attempts = generator, attempts
        self.name = f"corruptions:{_name_of(generator)}"

    def __call__(self, question: str, answer: str) -> Corruption:
        """Ask the generator, again where its answer is not valid."""
        prompt = (
            "A question about an audio clip has this correct answer.\n\n"
            f"Question: {question}\nAnswer: {answer}\n\n"
            "Rewrite the answer with exactly one subtle error about the audio: another sound, "
            "manner, order, number or word that could be mistaken for the true one. Keep its "
            "length and style, and explain the error. Reply with a JSON object only: "
            '{"rejected": "...", "explanation": "..."}'
        )

        def parse(value: Any) -> Corruption:
            made = Corruption(_text(value, "rejected"), _text(value, "explanation"))
            check_corruption(answer, made.rejected)
            return made

        return _valid(self.generator, prompt, self.attempts, parse)


def check_corruption(answer: str, rejected: str) -> None:
    """Raise unless ``rejected`` is another answer of similar length.

    Raises:
        DataError: says what is wrong.
    """
    if _plain(rejected) == _plain(answer):
        raise DataError("the wrong answer says the same as the right one")
    longer, shorter = sorted((len(rejected), len(answer)), reverse=True)
    if longer > _LENGTH_RATIO * shorter + 10:
        raise DataError("the wrong answer is of another length than the right one")


def check_plain(name: str, text: str | None, *, place: bool = False) -> None:
    """Refuse a text that would be more than words in a chat.

    Args:
        name: of the text, in errors.
        text: from anybody.
        place: whether it may say where the audio goes (``<audio>``).

    Raises:
        DataError: it holds a chat marker.
    """
    found = _MARKER.search(text or "")
    if found is None and not place and AUDIO_PLACEHOLDER in (text or ""):
        raise DataError(f"{name!r} holds the place of the audio, {AUDIO_PLACEHOLDER}")
    if found is not None:
        raise DataError(f"{name!r} holds a chat marker, {found[0]:.40}")


def _valid(generator: TextGenerator, prompt: str, attempts: int, parse: Any) -> Any:
    request, reason = prompt, ""
    for _ in range(attempts):
        found = _JSON.search(generator(request))
        try:
            if found is None:
                raise DataError("there is no JSON in it")
            return parse(parse_json(found[0], "reply"))
        except DataError as error:
            reason = str(error)
            # The reason goes back to the generator, which would else repeat itself.
            request = f"{prompt}\n\nYour last reply was not usable: {reason}"
    raise DataError(f"no valid reply in {attempts} attempts: {reason}")


def _text(value: Any, name: str) -> str:
    text = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{name!r} is missing")
    check_plain(name, text)
    return text.strip()


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _name_of(generator: TextGenerator) -> str:
    return str(getattr(generator, "name", getattr(generator, "__name__", type(generator).__name__)))
