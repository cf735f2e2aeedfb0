"""Word error rate of a corpus: a normalizer on both sides, then jiwer."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from ..errors import InvalidArgumentError, MissingDependencyError
from ..files import read_json
from .scoring import Numbers


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Word errors of a corpus.

    Attributes:
        hits: words of the references that were heard.
        substitutions: words that were replaced.
        deletions: words that were left out, those of missing hypotheses included.
        insertions: words that nobody said.
        utterances: pairs compared.
        missing: hypotheses that were None; all of their words count as deleted.
    """

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0
    utterances: int = 0
    missing: int = 0

    @property
    def reference_words(self) -> int:
        """Words of all references after normalization."""
        return self.hits + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        """Words that are wrong in any way."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def wer(self) -> float:
        """Errors over reference words; nan where no reference holds a word."""
        return self.errors / self.reference_words if self.reference_words else float("nan")

    @property
    def score(self) -> float | None:
        """The rate; None where no reference holds a word."""
        return self.wer if self.reference_words else None

    def to_json(self) -> Numbers:
        """Counts and the rate; a rate that does not exist is null."""
        return {"wer": self.score, **asdict(self), "reference_words": self.reference_words}


@lru_cache(maxsize=1)
def english_normalizer() -> Callable[[str], str]:
    """Whisper's English text normalizer.

    The rules are those of transformers; their table of spellings comes from openai-whisper,
    where it was published.

    Raises:
        MissingDependencyError: one of the two is not installed.

    Example:
        >>> english_normalizer()("Mr. Smith's colour is twenty-one!")
        'mister smith is color is 21'
    """
    try:
        from transformers.models.whisper.english_normalizer import EnglishTextNormalizer
    except ImportError as error:
        raise MissingDependencyError("transformers", "normalizing transcripts") from error
    spec = importlib.util.find_spec("whisper")
    if spec is None or not spec.submodule_search_locations:
        raise MissingDependencyError("openai-whisper", "normalizing transcripts")
    # Read as data: importing whisper would load numba for nothing.
    table = Path(spec.submodule_search_locations[0]) / "normalizers" / "english.json"
    return EnglishTextNormalizer(read_json(table))


def upper_case(text: str) -> str:
    """Words as they are spaced, in one case; punctuation stays.

    Example:
        >>> upper_case("Mr. Smith's  house")
        "MR. SMITH'S HOUSE"
    """
    return " ".join(text.upper().split())


def normalizer_description() -> str:
    """Which normalizer and metric, with their versions, for a report."""
    return (
        f"Whisper English normalizer (transformers {version('transformers')}, "
        f"openai-whisper {version('openai-whisper')}), jiwer {version('jiwer')}"
    )


def word_errors(
    references: Sequence[str],
    hypotheses: Sequence[str | None],
    normalize: Callable[[str], str] | None = None,
) -> WordErrors:
    """Count the word errors of a corpus.

    Args:
        references: what was said.
        hypotheses: what was heard; None where there is no result, which counts as all deleted.
        normalize: applied to both sides; None: Whisper's English normalizer.

    Raises:
        InvalidArgumentError: the two differ in length.
        MissingDependencyError: jiwer is not installed.

    Example:
        >>> word_errors(["the red cat", "sat"], ["the red hat", None]).wer
        0.5
    """
    try:
        import jiwer
    except ImportError as error:
        raise MissingDependencyError("jiwer", "word error rates", "eval") from error
    if len(references) != len(hypotheses):
        raise InvalidArgumentError(
            "hypotheses", f"one for each of the {len(references)} references", len(hypotheses)
        )
    if not references:
        return WordErrors()
    normalize = normalize or english_normalizer()
    said = [normalize(text) for text in references]
    heard = ["" if text is None else normalize(text) for text in hypotheses]
    counts = jiwer.process_words(said, heard)
    return WordErrors(
        hits=counts.hits,
        substitutions=counts.substitutions,
        deletions=counts.deletions,
        insertions=counts.insertions,
        utterances=len(references),
        missing=sum(text is None for text in hypotheses),
    )
