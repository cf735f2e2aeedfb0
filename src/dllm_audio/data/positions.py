"""How many positions of a sequence a clip's audio takes, for any encoder and adapter."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import torch

from ..outputs import EncoderOutput
from ..protocols import AudioAdapter, AudioEncoder

_MEASURED = 10.0  # seconds of silence


def audio_positions(encoder: AudioEncoder, adapter: AudioAdapter) -> Callable[[float], int]:
    """A function from seconds of a clip to the embeddings that it becomes.

    Exact where the encoder has ``num_frames(num_samples)`` and the adapter
    ``positions(encoder_frames)``, both optional.  Without the first, silence of two lengths is
    encoded, between which the number of frames grows evenly, and a frame is added; without the
    second, silent frames go through the adapter, for each number of frames once.

    Args:
        encoder: of the model.
        adapter: of the model, or of its settings on the meta device.

    Example:
        >>> from transformers import WhisperConfig
        >>> from dllm_audio import SemanticAdapter, WhisperEncoder
        >>> encoder = WhisperEncoder(WhisperConfig(d_model=16, encoder_layers=1,
        ...     encoder_attention_heads=2, encoder_ffn_dim=16))
        >>> audio_positions(encoder, SemanticAdapter(16, 8))(30.0)  # 1500 frames, 4 a position
        375
    """
    frames = getattr(encoder, "num_frames", None) or _measured_frames(encoder)
    positions = getattr(adapter, "positions", None) or _measured_positions(encoder, adapter)
    known = lru_cache(maxsize=None)(positions)
    return lambda seconds: known(frames(max(round(seconds * encoder.sampling_rate), 1)))


def _measured_frames(encoder: AudioEncoder) -> Callable[[int], int]:
    """Frames of so many samples, one more at most, from silence of two lengths."""

    @cache
    @torch.no_grad()
    def frames_of(samples: int) -> int:
        silence = torch.zeros(samples, device=_device(encoder))
        return int(encoder(*encoder.features([silence])).lengths[0])

    seconds = min(encoder.window_seconds or _MEASURED, _MEASURED)
    long = math.floor(seconds * encoder.sampling_rate)
    short = max(long // 2, 1)

    def frames(samples: int) -> int:
        slope = (frames_of(long) - frames_of(short)) / max(long - short, 1)
        return math.ceil(max(frames_of(long) + slope * (samples - long), 0)) + 1

    return frames


def _measured_positions(encoder: AudioEncoder, adapter: AudioAdapter) -> Callable[[int], int]:
    @torch.no_grad()
    def positions_of(frames: int) -> int:
        device = _device(adapter)
        silence = torch.zeros(1, frames, encoder.hidden_size, device=device)
        lengths = torch.tensor([frames], device=device)
        states = (silence,) * (encoder.num_layers + 1)
        # Of a single clip all embeddings are its own; their number is known on the meta device.
        return adapter(EncoderOutput(silence, states, lengths)).embeds.shape[1]

    return positions_of


def _device(part: Any) -> torch.device:
    parameters = part.parameters() if isinstance(part, torch.nn.Module) else ()
    return next((parameter.device for parameter in parameters), torch.device("cpu"))
