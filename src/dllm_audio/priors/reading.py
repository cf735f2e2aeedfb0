"""Hypotheses in a file: a text, JSON Lines, a JSON list, or a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError, InvalidArgumentError
from ..files import read_rows, read_text
from .hypothesis import Hypothesis, Word

NAMES = ("file", "audio", "path", "id", "name")
TEXTS = ("text", "hypothesis", "prediction", "response", "transcription", "transcript")
_CONFIDENCES = ("confidence", "probability")
_ROWS = (".jsonl", ".json", ".ndjson", ".csv", ".tsv")


class HypothesisFile:
    """Reads hypotheses and finds those of a recording.

    A file whose name ends in ``.jsonl``, ``.json``, ``.ndjson``, ``.csv`` or ``.tsv`` holds a row a
    recording.  A row names it (``file``, ``audio``, ``path``, ``id`` or ``name``) and has

    - a text (``text``, ``hypothesis``, ``prediction``, ``response``, ``transcription`` or
      ``transcript``), perhaps with ``confidences``, one a word;
    - or ``words``, a list of ``{"word", "confidence", "start", "end"}``, all but the word optional;
    - or ``hypotheses``, an n-best list of such texts or records, each perhaps with a ``score``, the
      logarithm of its probability.

    Every other file is the text of a single recording.

    Args:
        path: the file.

    Raises:
        DataError: it cannot be read, or a row is not usable; names file, row and field.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = Path(folder.name) / "prior.jsonl"
        >>> _ = path.write_text('{"id": "a", "text": "one two", "confidences": [0.9, 0.5]}')
        >>> HypothesisFile(path).find("clips/a.wav")[0].words[1]
        Word(text='two', confidence=0.5, start=None, end=None)
        >>> folder.cleanup()
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._found: dict[str, tuple[int, list[Hypothesis]]] = {}
        self._only: list[Hypothesis] | None = None
        if self.path.suffix.lower() not in _ROWS:
            text = read_text(self.path, DataError)
            if not text.strip():
                raise DataError(f"{self.path}: expected a text, got an empty file")
            self._only = [Hypothesis.from_text(text)]
            return
        rows = read_rows(self.path)
        if not rows:
            raise DataError(f"{self.path}: expected at least one row, got none")
        for number, row in enumerate(rows):
            where = f"{self.path}, row {number}"
            several = _hypotheses(row, where)
            for name in _names(row, where):
                if name in self._found and self._found[name][0] != number:
                    first = self._found[name][0]
                    raise DataError(f"{where}: {name!r:.80} has row {first} already")
                self._found[name] = number, several

    @property
    def holds_one_text(self) -> bool:
        """Whether it is the text of one recording, whatever that is called."""
        return self._only is not None

    def find(self, name: str) -> list[Hypothesis]:
        """The hypotheses of a recording, the best in front.

        Args:
            name: of the recording; a row may call it so, or by its file's name, or by that without
                its ending.

        Raises:
            DataError: there are none.
        """
        if self._only is not None:
            return self._only
        path = Path(name)
        for called in (name, str(path), path.name, path.stem):
            if called in self._found:
                return self._found[called][1]
        # Rows may name files of another folder.
        alike = {
            number: several
            for called, (number, several) in self._found.items()
            if Path(called).name == path.name
        }
        if len(alike) == 1:
            return next(iter(alike.values()))
        said = f"rows {sorted(alike)} of that name" if alike else "none"
        fields = ", ".join(NAMES)
        raise DataError(
            f"{self.path}: {fields}: expected a row for {path.name!r:.80} or {path.stem!r:.80}, "
            f"got {said}"
        )


def _names(row: Mapping[str, Any], where: str) -> list[str]:
    """Everything that a row calls its recording."""
    found = []
    for field in NAMES:
        value = row.get(field)
        if value is None or (field == "audio" and isinstance(value, Mapping)):
            continue
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{where}: {field}: expected a file name or id, got {value!r:.80}")
        found.append(value)
    if not found:
        raise DataError(f"{where}: expected one of the fields {', '.join(NAMES)}, got none of them")
    return list(dict.fromkeys(found))


def _hypotheses(row: Mapping[str, Any], where: str) -> list[Hypothesis]:
    several = row.get("hypotheses")
    if several is None:
        return [_hypothesis(row, where)]
    if not isinstance(several, list) or not several:
        expected = "a list of texts or records, not empty"
        raise DataError(f"{where}: hypotheses: expected {expected}, got {several!r:.80}")
    found = []
    for number, each in enumerate(several):
        inside = f"{where}: hypotheses[{number}]"
        record = {"text": each} if isinstance(each, str) else each
        if not isinstance(record, Mapping):
            raise DataError(f"{inside}: expected a text or a record, got {each!r:.80}")
        found.append(_hypothesis(record, inside))
    return found


def _hypothesis(record: Mapping[str, Any], where: str) -> Hypothesis:
    try:
        score = record.get("score")
        if record.get("words") is not None:
            return Hypothesis(_words(record["words"]), score)
        field = next((name for name in TEXTS if record.get(name) is not None), None)
        if field is None:
            expected = f"one of the fields words, {', '.join(TEXTS)}"
            raise DataError(f"{where}: expected {expected}, got none of them")
        text, confidences = record[field], record.get("confidences")
        if not isinstance(text, str) or not text.strip():
            raise InvalidArgumentError(field, "a text that is not empty", f"{text!r:.80}")
        if confidences is not None and not isinstance(confidences, list):
            got = f"{confidences!r:.80}"
            raise InvalidArgumentError("confidences", "a list of numbers, one a word", got)
        return Hypothesis.from_text(text, confidences, score=score)
    except InvalidArgumentError as error:
        raise DataError(f"{where}: {error}") from error


def _words(values: object) -> tuple[Word, ...]:
    if not isinstance(values, list) or not values:
        expected = "a list of words, not empty"
        raise InvalidArgumentError("words", expected, f"{values!r:.80}")
    return tuple(_word(value, f"words[{number}]") for number, value in enumerate(values))


def _word(value: object, name: str) -> Word:
    if isinstance(value, str):
        value = {"word": value}
    if not isinstance(value, Mapping):
        expected = "a word, or a record with the field word"
        raise InvalidArgumentError(name, expected, f"{value!r:.80}")
    text = value.get("word", value.get("text"))
    if isinstance(text, str):
        text = text.strip()  # Whisper writes the space in front of a word to it
    confidence = next((value[key] for key in _CONFIDENCES if value.get(key) is not None), None)
    try:
        return Word(text, confidence, value.get("start"), value.get("end"))  # type: ignore[arg-type]
    except InvalidArgumentError as error:
        field = "word" if error.argument == "text" else error.argument
        raise InvalidArgumentError(f"{name}.{field}", error.expected, error.got) from error


def share_out(hypothesis: Hypothesis, ends: Sequence[float]) -> list[Hypothesis]:
    """A hypothesis without times in several parts, as long as the parts of its recording.

    Args:
        hypothesis: whose words are spread evenly by their letters.
        ends: where each part of the recording ends, in seconds; the last is its length.

    Returns:
        One hypothesis a part; together they hold every word once, in order.

    Example:
        >>> text = Hypothesis.from_text("one two three four")
        >>> [part.text for part in share_out(text, [2.0, 4.0])]
        ['one two', 'three four']
    """
    lengths = [len(word.text) for word in hypothesis.words]
    total, said, part = sum(lengths), 0.0, 0
    parts: list[list[Word]] = [[] for _ in ends]
    for word, length in zip(hypothesis.words, lengths, strict=True):
        middle = (said + length / 2) / total * ends[-1]
        while part < len(ends) - 1 and middle >= ends[part]:
            part += 1
        parts[part].append(word)
        said += length
    return [Hypothesis(tuple(words), hypothesis.score) for words in parts]
