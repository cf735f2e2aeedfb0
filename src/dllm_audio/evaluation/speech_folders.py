"""Folders of recordings with transcripts: LibriSpeech, Kaldi, spoken digits, or a data set."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import DataError, InvalidArgumentError
from ..files import read_text
from .sources import Source, open_source, rows_source

_TEST_TAKES = 5  # recordings 0 to 4 of a speaker and digit are the customary test split
_MAX_LIST_BYTES = 2**30
_ARCHIVE = re.compile(r".*:\d+")


def folder_source(
    folder: str | Path, split: str | None = None, audio_root: str | Path | None = None
) -> Source:
    """A folder of speech, recognized by its files.

    Args:
        folder: an unpacked LibriSpeech folder, a Kaldi data folder, recordings of the Free Spoken
            Digit Dataset, or a folder written by ``datasets``.
        split: of the latter two.
        audio_root: folder that relative paths of a Kaldi folder or data set start from; None: the
            folder itself.

    Raises:
        DataError: it is none of these.
    """
    root = Path(folder)
    if (root / "wav.scp").exists():
        return kaldi_source(root, audio_root)
    if next(root.rglob("*.trans.txt"), None) is not None:
        return librispeech_source(root)
    if next(root.glob("[0-9]_*_[0-9]*.wav"), None) is not None:
        return spoken_digits_source(root, split or "test")
    return open_source(root, audio_root=audio_root, split=split)


def librispeech_source(folder: str | Path) -> Source:
    """Rows of an unpacked LibriSpeech folder (``*.trans.txt`` beside ``*.flac``).

    Raises:
        DataError: there is no transcript, or a transcript names a file that is not there.
    """
    root = Path(folder)
    rows = []
    for transcript in sorted(root.rglob("*.trans.txt")):
        for identifier, text in _read_list(transcript).items():
            audio = transcript.parent / f"{identifier}.flac"
            if not audio.exists():
                raise DataError(f"{transcript}: expected {audio.name} beside it, got no such file")
            path = audio.relative_to(root).as_posix()
            speaker = identifier.split("-")[0]
            rows.append({"id": identifier, "audio": path, "text": text, "speaker": speaker})
    if not rows:
        raise DataError(f"{root}: expected *.trans.txt files somewhere inside, got none")
    return rows_source(rows, f"LibriSpeech folder {root.name}", root)


def kaldi_source(folder: str | Path, audio_root: str | Path | None = None) -> Source:
    """Rows of a Kaldi data folder: ``wav.scp``, ``text`` and, where it is there, ``utt2spk``.

    Lines of ``wav.scp`` must name files: a pipe would run a command, and is refused.

    Args:
        folder: the data folder.
        audio_root: folder that relative paths start from; None: the data folder.

    Raises:
        DataError: a file is missing or damaged, a line of ``wav.scp`` is a pipe or points into an
            archive, recordings are cut by ``segments``, or an utterance has no transcript.
    """
    root = Path(folder)
    if (root / "segments").exists():
        raise DataError(
            f"{root / 'segments'}: expected one file an utterance, got recordings cut by segments; "
            "cut them first (extract-segments)"
        )
    listed, texts = root / "wav.scp", _read_list(root / "text")
    speakers = _read_list(root / "utt2spk") if (root / "utt2spk").exists() else {}
    rows = []
    for identifier, place in _read_list(listed).items():
        where = f"{listed}, utterance {identifier!r:.80}"
        if "|" in place:
            raise DataError(
                f"{where}: expected a file, got a pipe, which is never run: {place!r:.80}"
            )
        if not place or _ARCHIVE.fullmatch(place):
            raise DataError(f"{where}: expected a file, got {place!r:.80}")
        if identifier not in texts:
            raise DataError(f"{where}: expected its transcript in {root / 'text'}, got none")
        row = {"id": identifier, "audio": place, "text": texts[identifier]}
        rows.append({**row, "speaker": speakers[identifier]} if identifier in speakers else row)
    without = next((name for name in texts if name not in {row["id"] for row in rows}), None)
    if without is not None:
        raise DataError(f"{root / 'text'}, utterance {without!r:.80}: expected it in {listed}")
    if not rows:
        raise DataError(f"{listed}: holds no rows")
    start = root if audio_root is None else Path(audio_root)
    return rows_source(rows, f"Kaldi folder {root.name}", start)


def _read_list(path: Path) -> dict[str, str]:
    """What stands behind the first word of every line, by that word."""
    found: dict[str, str] = {}
    lines = read_text(path, DataError, _MAX_LIST_BYTES).replace("\r\n", "\n").split("\n")
    for number, line in enumerate(lines, start=1):
        # Blanks and tabs alone: a transcript may hold any other space.
        identifier, *rest = re.split(r"[ \t]+", line.strip(" \t"), maxsplit=1)
        if not identifier:
            continue
        if identifier in found:
            raise DataError(f"{path}, line {number}: the id {identifier!r:.80} occurs twice")
        found[identifier] = "".join(rest)
    return found


def spoken_digits_source(folder: str | Path, split: str = "test") -> Source:
    """Rows of the Free Spoken Digit Dataset (``{digit}_{speaker}_{index}.wav`` files).

    It is public: https://github.com/Jakobovski/free-spoken-digit-dataset, folder ``recordings``.

    Args:
        folder: where the recordings are.
        split: ``"test"`` (indices 0 to 4, as is the custom), ``"train"`` or ``"all"``.

    Raises:
        InvalidArgumentError: unknown split.
        DataError: the folder holds no such recordings.
    """
    if split not in ("test", "train", "all"):
        raise InvalidArgumentError("split", '"test", "train" or "all"', split)
    from ..toy import HumanDigits  # loads torch, which the definitions here do without

    rows = []
    for take in HumanDigits(folder).recordings:
        index = int(take.path.stem.rpartition("_")[2])
        if split in ("all", "test" if index < _TEST_TAKES else "train"):
            row = {"id": take.path.stem, "audio": take.path.name, "text": take.text}
            rows.append({**row, "speaker": take.speaker})
    if not rows:
        raise DataError(f"{folder}: holds no recordings of the {split} split")
    return rows_source(rows, f"spoken digits, {split}", Path(folder))
