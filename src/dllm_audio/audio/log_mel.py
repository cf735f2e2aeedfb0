"""Log-mel features as the Whisper models were trained on (arXiv 2212.04356, section 2.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InvalidArgumentError, NonFiniteAudioError
from .units import CHUNK_LENGTH, FRAMES_PER_SECOND, HOP_LENGTH, N_FFT, SAMPLING_RATE
from .waveforms import checked_waveforms

_MAX_MELS = 128  # with many more, the lowest filters fall between two bins of the spectrum
_MIN_FRAMES = 2  # reflection at the ends needs more than half an FFT of samples
_POWER_FLOOR = 1e-10
_DYNAMIC_RANGE = 8.0  # in powers of ten below an item's loudest cell


class LogMel:
    """Log-mel spectrogram of 16 kHz waveforms, padded to the encoder's window.

    Every item is normalized by its own maximum and computed alone: its features are bit-equal
    whatever else is in the batch, and whatever torch's default dtype is.

    Args:
        n_mels: mel filters, 80 or 128 for the published encoders.
        chunk_length: window of the encoder in seconds; a whole number of 10 ms frames.
        crop: keep the first ``chunk_length`` seconds of a longer clip instead of raising.

    Raises:
        InvalidArgumentError: an option is out of range.

    Example:
        >>> import torch
        >>> features, lengths = LogMel(n_mels=80)([torch.zeros(16000), torch.zeros(8000)])
        >>> features.shape, lengths.tolist()
        (torch.Size([2, 80, 3000]), [100, 50])
    """

    def __init__(
        self, n_mels: int = 80, *, chunk_length: float = CHUNK_LENGTH, crop: bool = False
    ) -> None:
        if isinstance(n_mels, bool) or not isinstance(n_mels, int) or not 1 <= n_mels <= _MAX_MELS:
            raise InvalidArgumentError("n_mels", f"an integer from 1 to {_MAX_MELS}", n_mels)
        frames = chunk_length * FRAMES_PER_SECOND
        if not math.isfinite(frames) or frames < _MIN_FRAMES or abs(frames - round(frames)) > 1e-6:
            raise InvalidArgumentError(
                "chunk_length",
                f"seconds, a multiple of 1/{FRAMES_PER_SECOND} and at least {_MIN_FRAMES} of them",
                chunk_length,
            )
        self.n_mels = n_mels
        self.chunk_length = chunk_length
        self.crop = crop
        self.window_frames = round(frames)

    def __call__(self, waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Compute features of a batch on the device of its waveforms.

        Args:
            waveforms: one floating point ``[T]`` per item, 16 kHz, ``T >= 1``.

        Returns:
            Features ``[B, n_mels, F]`` float32 over the whole window, and the frames ``[B]``
            int64 that hold sound (``ceil(T / 160)``); the rest is padding.

        Raises:
            InvalidArgumentError: not a non-empty list of tensors on one device.
            ShapeError: a waveform that is not ``[T]``.
            EmptyAudioError: a waveform without samples.
            NonFiniteAudioError: NaN or infinite samples.
            AudioTooLongError: a waveform longer than the window, unless ``crop``.
        """
        window = self.window_frames * HOP_LENGTH
        items = checked_waveforms(waveforms, window, SAMPLING_RATE, crop=self.crop)
        features = [self._features(waveform) for waveform in items]
        lengths = [-(-len(waveform) // HOP_LENGTH) for waveform in items]
        batch = torch.stack(features)
        # One cell an item tells: a NaN or infinity reaches the maximum that normalizes the item.
        finite = batch[:, 0, 0].isfinite()
        if not finite.all():
            bad = (~finite).nonzero().flatten().tolist()
            raise NonFiniteAudioError(
                f"waveforms: NaN, infinite or overflowing samples in items {bad}"
            )
        return batch, torch.tensor(lengths, device=batch.device)

    def __repr__(self) -> str:
        options = f"n_mels={self.n_mels}, chunk_length={self.chunk_length}, crop={self.crop}"
        return f"{type(self).__name__}({options})"

    def _features(self, waveform: Tensor) -> Tensor:
        """``[n_mels, window_frames]`` of one item."""
        # Frames beyond the sound see zeros only, so their value is known without computing it.
        heard = -(-(len(waveform) + N_FFT) // HOP_LENGTH)
        frames = min(heard, self.window_frames)
        padded = F.pad(waveform, (0, max(frames * HOP_LENGTH - len(waveform), 0)))
        spectrum = torch.stft(
            padded,
            N_FFT,
            HOP_LENGTH,
            window=torch.hann_window(N_FFT, dtype=torch.float32, device=waveform.device),
            return_complex=True,
        )
        power = spectrum[:, :frames].abs().square()
        mel = _mel_filters(self.n_mels, waveform.device) @ power
        log_mel = mel.clamp(min=_POWER_FLOOR).log10()
        padding = self.window_frames - frames
        log_mel = F.pad(log_mel, (0, padding), value=math.log10(_POWER_FLOOR))
        log_mel = torch.maximum(log_mel, log_mel.amax() - _DYNAMIC_RANGE)
        return (log_mel + 4.0) / 4.0


@lru_cache(maxsize=16)
def _mel_filters(n_mels: int, device: torch.device) -> Tensor:
    """Slaney's area-normalized filters ``[n_mels, N_FFT // 2 + 1]`` up to half the rate."""
    from transformers.audio_utils import mel_filter_bank

    filters = mel_filter_bank(
        num_frequency_bins=1 + N_FFT // 2,
        num_mel_filters=n_mels,
        min_frequency=0.0,
        max_frequency=SAMPLING_RATE / 2,
        sampling_rate=SAMPLING_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters.T.copy()).float().to(device)
