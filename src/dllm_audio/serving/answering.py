"""What a row does for a request: prepare, decode, and tell how far it is."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..model import AudioDiffusionLM
from ..outputs import SamplerOutput
from ..prompts import ConditionedPredictor
from ..samplers import DecodingStep, decided, partial_text
from ..samplers.state import first_end
from .decoding import Decoding
from .engine import Row

_BROKEN = "\ufffd"  # the tokens so far end inside of a character


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer and what it took.

    Attributes:
        text: up to its end, without special tokens.
        confidence: mean over its tokens; NaN where there is none.
        nfe: forward passes.
        prompt_tokens: positions of prompt and audio.
        tokens: of the answer.
        ended: it came to an end by itself.
    """

    text: str
    confidence: float
    nfe: int
    prompt_tokens: int
    tokens: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Draft:
    """An answer after a pass.

    Attributes:
        nfe: forward passes so far.
        text: all that stands there, each gap as ``_``.
        known: the beginning of the answer that is known for good.
    """

    nfe: int
    text: str
    known: str


Show = Callable[[Draft], None]


def answer(row: Row, asked: dict[str, Any], decoding: Decoding, show: Show | None) -> Answered:
    """Answer one prompt.

    Args:
        row: where.
        asked: as of ``AudioDiffusionLM.prepare``, for one row.
        decoding: how.
        show: called after every pass; it must not take long.
    """
    with row.predictor(**asked) as predictor:
        options, ends = decoding.options(), row.model.end_token_ids
        if show is None:
            output = decoding.sampler(predictor, **options)
        else:
            for step in decoding.sampler.stream(predictor, **options):
                if step.output is None:
                    show(_draft(step, row.model.tokenizer, predictor.mask_token_id, ends))
                else:
                    output = step.output
        return _answered(output, row.model, predictor)


@dataclass(frozen=True, slots=True)
class Segment:
    """The transcript of a window.

    Attributes:
        start: seconds.
        end: seconds.
        answered: what is said there.
    """

    start: float
    end: float
    answered: Answered


def transcribe(
    row: Row, windows: list[tuple[float, float, Tensor]], instruction: str, decoding: Decoding
) -> list[Segment]:
    """Transcribe windows of one recording, one after another.

    Args:
        row: where.
        windows: start and end in seconds, and the waveform ``[T]``; emptied as they are heard.
        instruction: what is asked about each.
        decoding: how.
    """
    segments: list[Segment] = []
    while windows:
        start, end, waveform = windows.pop(0)
        asked = {"prompts": [instruction], "audio": [waveform]}
        with row.predictor(**asked) as predictor:
            output = decoding.sampler(predictor, **decoding.options(len(segments)))
            segments.append(Segment(start, end, _answered(output, row.model, predictor)))
    return segments


def _draft(step: DecodingStep, tokenizer: Any, mask: int, ends: Collection[int]) -> Draft:
    known, _ = decided(step, mask, ends)
    tokens = step.tokens[0].tolist()
    return Draft(
        step.nfe,
        partial_text(tokens, tokenizer, mask, ends),
        tokenizer.decode(tokens[:known], skip_special_tokens=True),
    )


def _answered(
    output: SamplerOutput, model: AudioDiffusionLM, predictor: ConditionedPredictor
) -> Answered:
    row = output.tokens[0].tolist()
    length = first_end(row, model.end_token_ids)
    return Answered(
        model.decode(output)[0],
        float(output.confidence[0]),
        int(output.row_nfe[0]),
        int(predictor.prompt.mask.sum()),
        length,
        length < len(row),
    )


class Growing:
    """A text that is sent piece by piece as its beginning becomes known.

    Example:
        >>> text = Growing()
        >>> [text.grow(known) for known in (" three ", " three sev", " three seven")]
        ['three', ' sev', 'en']
        >>> text.finish("three seven five")
        ' five'
    """

    def __init__(self) -> None:
        self.sent = ""

    def grow(self, known: str) -> str:
        """What is new in ``known``, without space that may be the answer's end."""
        return self._new(known.strip().rstrip(_BROKEN))

    def finish(self, text: str) -> str:
        """What is still missing of the whole answer."""
        return self._new(text)

    def _new(self, text: str) -> str:
        if not text.startswith(self.sent):  # a tokenizer that changed what it had said before
            return ""
        new = text[len(self.sent) :]
        self.sent = text
        return new
