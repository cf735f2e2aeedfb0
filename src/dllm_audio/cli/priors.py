"""``transcribe --prior``: hypotheses from a file or from Whisper, mended window by window."""

from __future__ import annotations

import argparse
import hashlib
import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from ..audio import stream_windows
from ..errors import AudioError, DataError, InvalidArgumentError
from ..priors import EditRule, Hypothesis, HypothesisFile, PriorTranscriber, WhisperPrior, share_out
from ..weights import resolve_directory
from .contents import fingerprint
from .models import choose_device
from .recordings import STANDARD_INPUT, Heard, Recording
from .results import Part

if TYPE_CHECKING:
    from ..evaluation.predictors import ModelPredictor

WHISPER = "whisper"
DEFAULT_WHISPER = "openai/whisper-base"
_REMEMBERED = 64  # recordings whose hypotheses are kept while their windows are asked about
_RULE = {f"prior_{name}": name for name in ("keep", "unknown", "threshold", "margin", "agreement")}


class Source(Protocol):
    """Where hypotheses of whole recordings come from."""

    @property
    def description(self) -> Mapping[str, Any]:
        """What results depend on, as plain JSON values."""
        ...

    def find(self, recording: Recording) -> list[Hypothesis]:
        """Hypotheses of a recording, the best in front."""
        ...


@dataclass(frozen=True)
class FileSource:
    """Hypotheses that stand in a file.

    Attributes:
        file: what was read.
        description: its name and checksum.
    """

    file: HypothesisFile
    description: Mapping[str, Any]

    def find(self, recording: Recording) -> list[Hypothesis]:
        """See ``Source``."""
        return self.file.find(recording.name)


@dataclass(frozen=True)
class WhisperSource:
    """Hypotheses that Whisper hears, in windows of its own.

    Attributes:
        prior: the model.
        description: what it is.
        allow_truncated: use what is left of files that end early.
    """

    prior: WhisperPrior
    description: Mapping[str, Any]
    allow_truncated: bool = False

    def find(self, recording: Recording) -> list[Hypothesis]:
        """See ``Source``."""
        return [self.prior.hear(recording.name, allow_truncated=self.allow_truncated)]


@dataclass(frozen=True)
class Prior:
    """What the options ask for.

    Attributes:
        source: of the hypotheses.
        rule: whom to believe.
    """

    source: Source
    rule: EditRule

    @property
    def description(self) -> dict[str, Any]:
        """All that results depend on."""
        return {**self.source.description, **self.rule.to_config()}


def chosen_prior(arguments: argparse.Namespace, names: Sequence[str]) -> Prior | None:
    """The prior of the options, read or loaded; None where there is none.

    Args:
        arguments: the command line.
        names: of all recordings.

    Raises:
        InvalidArgumentError: options that do not fit each other or the recordings.
        DataError: a file that is not usable; names file, row and field.
        CheckpointError: a Whisper that cannot be loaded.
    """
    given = arguments.prior
    numbers = {name: getattr(arguments, option) for option, name in _RULE.items()}
    numbers = {name: value for name, value in numbers.items() if value is not None}
    if given is None:
        others = [f"prior_{name}" for name in ("model", "language")]
        for option in (*others, *_RULE):
            if getattr(arguments, option) is not None:
                flag = f"--{option.replace('_', '-')}"
                raise InvalidArgumentError("--prior", f"a prior beside {flag}", None)
        return None
    rule, (kind, _, folder) = EditRule(**numbers), given.partition(":")
    if kind != WHISPER:
        for option in ("model", "language"):
            value = getattr(arguments, f"prior_{option}")
            if value is not None:
                flag = f"--prior-{option}"
                raise InvalidArgumentError(flag, "none beside --prior FILE", value)
        return Prior(_file_source(Path(given), names), rule)
    if folder and arguments.prior_model is not None:
        expected = f"none beside --prior {WHISPER}:FOLDER"
        raise InvalidArgumentError("--prior-model", expected, arguments.prior_model)
    if STANDARD_INPUT in names:
        expected = "a file beside standard input, which can be heard only once"
        raise InvalidArgumentError("--prior", expected, given)
    return Prior(_whisper_source(arguments, folder or arguments.prior_model), rule)


def _file_source(path: Path, names: Sequence[str]) -> FileSource:
    file = HypothesisFile(path)
    if file.holds_one_text and len(names) > 1:
        expected = f"a file with a row for each of {len(names)} recordings, such as JSON Lines"
        raise InvalidArgumentError("--prior", expected, f"the text {path}")
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return FileSource(file, {"prior": str(path), "prior_fingerprint": f"sha256:{checksum}"})


def _whisper_source(arguments: argparse.Namespace, model: str | None) -> WhisperSource:
    source = model or DEFAULT_WHISPER
    device, language = choose_device(arguments.device), arguments.prior_language
    path = Path(source).expanduser()
    if path.is_file():
        checksum = f"{path.stat().st_size} bytes"
    else:
        path = resolve_directory(source)
        checksum = fingerprint(path)
    return WhisperSource(
        WhisperPrior(path, device=device, language=language),
        {"prior": WHISPER, "prior_model": source, "prior_fingerprint": checksum,
         "prior_language": language},
        arguments.allow_truncated,
    )  # fmt: skip


@dataclass(frozen=True)
class PriorAsker:
    """Mends the prior's hypotheses of windows.

    Attributes:
        predictor: the model and its sampler.
        prompt: the question.
        prior: the hypotheses, and whom to believe.
        window_seconds: of the windows.
        seed: of the first window of every recording; each window has one of its own.
        allow_truncated: use what is left of files that end early.
    """

    predictor: ModelPredictor
    prompt: str
    prior: Prior
    window_seconds: float
    seed: int = 0
    allow_truncated: bool = False
    _known: OrderedDict[str, list[Hypothesis]] = field(default_factory=OrderedDict)
    _shared: OrderedDict[str, list[Hypothesis]] = field(default_factory=OrderedDict)

    def __call__(self, windows: Sequence[Heard]) -> list[Part]:
        """Answers for a batch of windows, whatever recordings they are of."""
        found = [self._hypotheses(heard) for heard in windows]
        asked = [row for row, (_, ask) in enumerate(found) if ask]
        made = iter(
            self._transcriber(
                [windows[row].window.waveform for row in asked],
                self.prompt,
                [found[row][0] for row in asked],
                generator=[
                    torch.Generator().manual_seed(self.seed + windows[row].number) for row in asked
                ],
            )
        )
        return [
            _part(heard, next(made)) if ask else _kept(heard, several[0])
            for heard, (several, ask) in zip(windows, found, strict=True)
        ]

    @cached_property
    def _transcriber(self) -> PriorTranscriber:
        return PriorTranscriber(self.predictor.model, self.predictor.sampler, self.prior.rule)

    def _hypotheses(self, heard: Heard) -> tuple[list[Hypothesis], bool]:
        """The hypotheses of a window, and whether the model is to be asked about them."""
        recording = heard.recording
        if recording.name not in self._known:
            _remember(self._known, recording.name, self.prior.source.find(recording))
        several = self._known[recording.name]
        if heard.alone:
            return several, True
        if all(each.timed for each in several):
            start = -math.inf if heard.number == 0 else heard.window.start
            end = math.inf if heard.last else heard.window.end
            inside = [each.within(start, end) for each in several]
            # Nothing said in a part of a recording is a finding, not a lack of one.
            return inside, bool(inside[0].words)
        if recording.name not in self._shared:
            shares = share_out(several[0], self._ends(recording))
            _remember(self._shared, recording.name, shares)
        return [self._shared[recording.name][heard.number]], False

    def _ends(self, recording: Recording) -> list[float]:
        """Where the windows of a recording end."""
        if recording.name == STANDARD_INPUT:
            expected = "words with start and end, as standard input is heard in several windows"
            raise DataError(f"{self.prior.source.description['prior']}: expected {expected}")
        ends: list[float] = []
        stream = stream_windows(
            recording.name, self.window_seconds, allow_truncated=self.allow_truncated
        )
        try:
            ends.extend(window.end for window in stream)
        except AudioError:  # met again where it is; the words are spread over what is in front
            if not ends:
                raise
        finally:
            stream.close()
        return ends


def _remember(memory: OrderedDict[str, list[Hypothesis]], name: str, found: Any) -> None:
    memory[name] = found
    while len(memory) > _REMEMBERED:
        memory.popitem(last=False)


def _part(heard: Heard, found: Any) -> Part:
    edits = [
        {"from": " ".join(edit.before), "to": " ".join(edit.after),
         "confidence": round(edit.confidence, 4)}
        for edit in found.edits
    ]  # fmt: skip
    window, prior = heard.window, found.hypothesis.text
    return Part(
        window.start, window.end, found.text, found.nfe, found.confidence, prior=prior, edits=edits
    )


def _kept(heard: Heard, hypothesis: Hypothesis) -> Part:
    """What the model is not asked about: words whose place is a guess, or none in a window."""
    window, text = heard.window, hypothesis.text
    known = [word.confidence for word in hypothesis.words if word.confidence is not None]
    sure = sum(known) / len(known) if known else None
    return Part(window.start, window.end, text, 0, sure, prior=text, edits=[])
