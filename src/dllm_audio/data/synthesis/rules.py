"""Questions and wrong answers by rule: no model needed, the same every time."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from ...errors import DataError
from .makers import ClipFacts, Corruption, QuestionAnswer, check_corruption

# Words that can stand for each other in an answer about audio.
CONFUSABLE: tuple[tuple[str, ...], ...] = (
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    ("man", "woman"),
    ("he", "she"),
    ("his", "her"),
    ("slowly", "quickly"),
    ("slow", "fast"),
    ("rising", "falling"),
    ("major", "minor"),
    ("clean", "noisy"),
    ("yes", "no"),
    ("loud", "quiet"),
    ("high", "low"),
    ("calm", "tense"),
    ("sigh", "whisper", "cough", "laugh"),
    ("rain", "wind", "siren", "knock", "bell", "beep", "whistle"),
    ("happy", "sad", "angry", "neutral"),
    ("go", "stop", "up", "down", "left", "right", "on", "off"),
)


class RuleCorruptions:
    """Exchange one word of the answer for one that it could be mistaken for.

    Args:
        seed: chooses word and replacement, with the question and the answer.
        confusable: groups of words that can stand for each other.

    Example:
        >>> RuleCorruptions()("Who speaks?", "a woman").rejected
        'a man'
    """

    def __init__(self, seed: int = 0, confusable: Sequence[Sequence[str]] = CONFUSABLE) -> None:
        self.seed, self.name = seed, f"rules:{seed}"
        self._group = {word: tuple(group) for group in confusable for word in group}

    def __call__(self, question: str, answer: str) -> Corruption:
        """A wrong answer.

        Raises:
            DataError: no word of the answer has one that it could be mistaken for.
        """
        chance = random.Random(f"{self.seed}:{question}:{answer}")
        words = [m for m in re.finditer(r"[A-Za-z]+", answer) if m[0].lower() in self._group]
        if not words:
            raise DataError(f"no word of {answer!r} can be mistaken for another")
        word = chance.choice(words)
        others = [other for other in self._group[word[0].lower()] if other != word[0].lower()]
        new = chance.choice(others)
        new = new.capitalize() if word[0][0].isupper() else new
        rejected = answer[: word.start()] + new + answer[word.end() :]
        check_corruption(answer, rejected)
        return Corruption(rejected, f"the answer says {new!r} where {word[0]!r} is right")


class RuleQuestions:
    """One question per known fact.

    Args:
        seed: chooses among phrasings, with the clip's id.
    """

    _SAID = ("What is said?", "What does the speaker say?", "Which words are spoken?")
    _HEARD = ("What do you hear?", "Which sounds are in the clip?")
    _ATTRIBUTE = ("What is the {name}?", "Tell me the {name}.", "Can you tell the {name}?")

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.name = seed, f"rules:{seed}"

    def __call__(self, facts: ClipFacts) -> list[QuestionAnswer]:
        """Questions with answers.

        Raises:
            DataError: nothing is known of the clip.
        """
        chance = random.Random(f"{self.seed}:{facts.id}")
        made = []
        if facts.transcript:
            made.append(QuestionAnswer(chance.choice(self._SAID), facts.transcript))
        if facts.caption:
            heard = re.sub(r"\[[^\]]*\]|[()]", "", facts.caption)
            made.append(QuestionAnswer(chance.choice(self._HEARD), " ".join(heard.split())))
        for name, value in facts.attributes.items():
            question = chance.choice(self._ATTRIBUTE).format(name=name.replace("_", " "))
            made.append(QuestionAnswer(question, value))
        if not made:
            raise DataError(f"clip {facts.id!r}: nothing is known of it")
        return made
