"""Transcriptions: OpenAI's form read strictly, and its answers in five forms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..errors import AudioError
from ..model import AudioDiffusionLM
from .answering import Segment
from .captions import Caption, srt, vtt
from .chat import check_model, finite
from .decoding import Decoding, read_decoding
from .fields import Fields
from .refusals import ApiError, translated
from .settings import ServerSettings
from .sounds import hear

FORMS = ("json", "text", "srt", "verbose_json", "vtt")
_MEDIA = {"json": "application/json", "verbose_json": "application/json", "vtt": "text/vtt"}
_LONGEST_PROMPT = 4096  # characters


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """A recording that is to be transcribed.

    Attributes:
        windows: start and end in seconds and the waveform of each.
        seconds: of the whole.
        instruction: what the model is asked about each window.
        language: as the client says.
        form: of the answer.
        decoding: how it is decoded.
    """

    windows: list[tuple[float, float, Tensor]]
    seconds: float
    instruction: str
    language: str
    form: str
    decoding: Decoding


def read_transcription(
    values: Mapping[str, Any],
    files: Mapping[str, bytes],
    model: AudioDiffusionLM,
    settings: ServerSettings,
    seed: int,
) -> TranscriptionRequest:
    """Read a request's form.

    Args:
        values: fields that are texts; a list where one comes more than once.
        files: content of the others.
        model: hears it.
        settings: limits.
        seed: where the request names none.

    Raises:
        ApiError: anything that is missing, unknown, of another type or out of range.
    """
    fields = Fields(values, texts=True)
    if fields.text("file") is not None:
        raise ApiError(400, "file: expected a sound file, got a text", "file")
    check_model(fields, settings.name)
    form = fields.text("response_format", FORMS) or "json"
    language = fields.text("language") or "unknown"
    instruction = fields.text("prompt") or settings.instruction
    if not instruction.strip() or len(instruction) > _LONGEST_PROMPT:
        expected = f"a text of at most {_LONGEST_PROMPT} characters"
        raise ApiError(400, f"prompt: expected {expected}", "prompt")
    fields.neutral("stream", False, "false", "False")
    fields.neutral("timestamp_granularities[]", "segment")
    fields.neutral("chunking_strategy", "auto")
    decoding = read_decoding(fields, model, settings.max_tokens, seed)
    fields.end()
    unknown = sorted(files.keys() - {"file"})
    if unknown or "file" not in files:
        name = unknown[0][:80] if unknown else "file"
        expected = "no such file" if unknown else "a sound file"
        raise ApiError(400, f"{name}: expected {expected}, got {len(files)} files", name)
    try:
        heard = hear(files["file"], model.encoder, settings.max_audio_seconds)
    except AudioError as error:
        raise translated(error, "file") from error
    windows = [(window.start, window.end, window.waveform) for window in heard]
    return TranscriptionRequest(windows, heard[-1].end, instruction, language[:40], form, decoding)


def render(asked: TranscriptionRequest, segments: Sequence[Segment]) -> tuple[str, str]:
    """The transcript in the form that was asked for, and its media type."""
    text = " ".join(each.answered.text for each in segments if each.answered.text)
    media = _MEDIA.get(asked.form, "text/plain")
    if asked.form == "json":
        return json.dumps({"text": text}, ensure_ascii=False), media
    if asked.form == "verbose_json":
        return json.dumps(_verbose(asked, segments, text), ensure_ascii=False), media
    captions = [_caption(each) for each in segments]
    if asked.form == "srt":
        return srt(captions), media
    return (vtt(captions) if asked.form == "vtt" else f"{text}\n"), media


def _caption(segment: Segment) -> Caption:
    return segment.start, segment.end, " ".join(segment.answered.text.split())


def _verbose(asked: TranscriptionRequest, segments: Sequence[Segment], text: str) -> dict[str, Any]:
    return {
        "task": "transcribe",
        "language": asked.language,
        "duration": round(asked.seconds, 3),
        "text": text,
        "segments": [
            {
                "id": number,
                "start": round(each.start, 3),
                "end": round(each.end, 3),
                "text": each.answered.text,
                "num_tokens": each.answered.tokens,
                "passes": each.answered.nfe,
                "confidence": finite(each.answered.confidence),
            }
            for number, each in enumerate(segments)
        ],
    }
