"""What ships with the package: a small model that was trained, and clips with questions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from dllm_audio.audio import load_audio

from .signals import SAMPLING_RATE

if TYPE_CHECKING:
    import torch

    from dllm_audio.model import AudioDiffusionLM

ASSETS = Path(__file__).resolve().parents[1] / "assets"
SMALL_MODEL = ASSETS / "tiny"


@dataclass(frozen=True, slots=True)
class Question:
    """One question about a clip.

    Attributes:
        prompt: what a model is given.
        answer: what it should reply.
        kind: ``semantic`` (what is said), ``acoustic`` (how it sounds) or ``mixed``.
    """

    prompt: str
    answer: str
    kind: str


@dataclass(frozen=True)
class Clip:
    """A recording of at most 4 s with questions about it.

    Attributes:
        path: an OGG file, for anything that reads audio.
        subject: ``digits``, ``command``, ``sound`` or ``music``; or, of what the model should not
            know, ``other_speech`` or ``silence``.
        questions: at least one.
    """

    path: Path
    subject: str
    questions: tuple[Question, ...]

    @property
    def name(self) -> str:
        """Name of the file without its ending."""
        return self.path.stem

    @cached_property
    def waveform(self) -> Tensor:
        """Float32 ``[T]``, 16 kHz; read from the file when first asked for."""
        return load_audio(self.path, SAMPLING_RATE)


@lru_cache(maxsize=1)
def clips() -> tuple[Clip, ...]:
    """The clips, in a fixed order.  No model of ours was trained on their voices.

    Example:
        >>> from dllm_audio import toy
        >>> beeps = next(clip for clip in toy.clips() if clip.name == "beeps")
        >>> beeps.questions[0].prompt, beeps.questions[0].answer
        ('Which sound do you hear?', 'beeping')
        >>> beeps.waveform.dtype
        torch.float32
    """
    folder = ASSETS / "clips"
    return tuple(
        Clip(
            folder / clip["file"],
            clip["subject"],
            tuple(Question(q["prompt"], q["expected"], q["kind"]) for q in clip["questions"]),
        )
        for clip in json.loads((folder / "questions.json").read_text(encoding="utf-8"))
    )


def small_model(dtype: torch.dtype | None = None) -> AudioDiffusionLM:
    """The model that ships with the package, ready to answer: Whisper-base's encoder, small parts.

    Each call loads it anew, so that it may be changed.

    Args:
        dtype: of the weights; None: float32.

    Example:
        >>> from dllm_audio import toy
        >>> model, clip = toy.small_model(), toy.clips()[0]
        >>> model.generate(prompts="What is said?", audio=clip.waveform).texts
        ['three seven five six']
    """
    from dllm_audio.model import AudioDiffusionLM

    return AudioDiffusionLM.from_pretrained(SMALL_MODEL, dtype=dtype)
