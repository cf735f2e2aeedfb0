"""Encoder output computed beforehand: the encoder is frozen, so its work need not be repeated.

One safetensors file per clip, named by the clip's content and by the encoder, so that a changed
file or another encoder never meets stale features.

Shape letters: S encoder frames, W frames of the window, K tapped layers, E width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

from ..audio import load_audio
from ..errors import DataError
from ..files import replacing
from ..outputs import EncoderOutput
from ..protocols import AudioEncoder
from .records import AudioSource


@dataclass(frozen=True, slots=True)
class StoredAudio:
    """Stands for a clip whose encoder output is stored, in place of the clip itself.

    Attributes:
        key: its :func:`content_key`.
    """

    key: str


def content_key(source: AudioSource) -> str:
    """A name for a clip that changes when its bytes do.

    Raises:
        DataError: the file cannot be read.
    """
    if isinstance(source, StoredAudio):
        return source.key
    digest = hashlib.sha256()
    if isinstance(source, tuple):
        samples, rate = source
        tensor = torch.as_tensor(samples).contiguous()
        digest.update(f"{rate}{tensor.dtype}{list(tensor.shape)}".encode())
        source = tensor.numpy().tobytes()
    elif not isinstance(source, bytes):
        try:
            source = Path(source).read_bytes()
        except (OSError, ValueError) as error:
            raise DataError(f"{source}: cannot be read ({error})") from error
    digest.update(source)
    return digest.hexdigest()


def encoder_key(encoder: nn.Module) -> str:
    """A name for an encoder that changes when one of its weights does."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(f"{name}{tensor.dtype}{list(tensor.shape)}".encode())
        # Bytes, because NumPy knows no bfloat16.
        raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(raw.numpy().tobytes())
    return digest.hexdigest()


class EncoderFeatures:
    """A folder of encoder outputs, by clip.

    Args:
        directory: where the files lie; one folder may hold the output of several encoders.
        encoder: the frozen encoder, or its :func:`encoder_key`.
        taps: hidden states that the adapter reads besides the last (its ``taps``); none of them
            saves most of the space.
        dtype: what the files hold.
    """

    def __init__(
        self,
        directory: str | Path,
        encoder: nn.Module | str,
        taps: Sequence[int] = (),
        dtype: torch.dtype = torch.float16,
    ) -> None:
        key = encoder if isinstance(encoder, str) else encoder_key(encoder)
        form = hashlib.sha256(f"{list(taps)}{dtype}".encode()).hexdigest()[:8]
        self.directory = Path(directory) / f"{key[:16]}-{form}"
        self.taps, self.dtype = tuple(taps), dtype

    def path(self, source: AudioSource) -> Path:
        """The file of a clip."""
        key = content_key(source)
        return self.directory / key[:2] / f"{key}.safetensors"

    def compute(
        self,
        sources: Iterable[AudioSource],
        encoder: AudioEncoder,
        *,
        device: torch.device | str = "cpu",
        progress: bool = True,
    ) -> int:
        """Run the encoder over every clip that has no file yet.

        Interrupted, it goes on where it stopped.

        Args:
            sources: the clips.
            encoder: the frozen encoder; it brings its front end and its sampling rate.
            device: where the encoder is.
            progress: show a bar.

        Returns:
            The number of clips that were computed.
        """
        computed = 0
        for source in tqdm(sources, desc="encoder features", unit="clip", disable=not progress):
            path = self.path(source)
            if _is_whole(path):
                continue
            features, lengths = encoder.features([load_audio(source, encoder.sampling_rate)])
            with torch.no_grad():
                output = encoder(features.to(device), lengths.to(device))
            tensors = {"frames": output.last_hidden_state[0, : int(output.lengths[0])]}
            if self.taps:
                # What lies behind the valid frames never counts, where the encoder says so.
                ends = output.hidden_lengths
                end = None if ends is None else int(ends[0])
                states = [output.hidden_states[i][0, :end] for i in self.taps]
                tensors["taps"] = torch.stack(states)
            tensors = {k: v.to("cpu", self.dtype).contiguous() for k, v in tensors.items()}
            if self.taps and ends is not None:
                tensors["tap_length"] = torch.tensor(end)
            with replacing(path) as scratch:
                save_file(tensors, scratch)
            computed += 1
        return computed

    def collate(self, sources: Sequence[AudioSource]) -> dict[str, Tensor]:
        """Stored outputs as a batch.

        Returns:
            ``frames [B, S, E]``, ``frame_lengths [B]`` and, where stored, ``taps [B, K, W, E]``
            with ``tap_lengths [B]`` of encoders that say how many frames count.

        Raises:
            DataError: a clip has no features yet, or a damaged file.
        """
        loaded = []
        for source in sources:
            path = self.path(source)
            if not _is_whole(path):
                raise DataError(f"{path}: no encoder features; run EncoderFeatures.compute first")
            loaded.append(load_file(path))
        frames = [tensors["frames"].float() for tensors in loaded]
        batch = {
            "frames": pad_sequence(frames, batch_first=True),
            "frame_lengths": torch.tensor([len(f) for f in frames]),
        }
        if self.taps:
            states = [tensors["taps"].float().transpose(0, 1) for tensors in loaded]
            batch["taps"] = pad_sequence(states, batch_first=True).transpose(1, 2)
            if all("tap_length" in tensors for tensors in loaded):
                batch["tap_lengths"] = torch.stack([tensors["tap_length"] for tensors in loaded])
        return batch


def stored_encoder_output(
    frames: Tensor,
    frame_lengths: Tensor,
    taps: Tensor | None = None,
    tap_indices: Sequence[int] = (),
    tap_lengths: Tensor | None = None,
) -> EncoderOutput:
    """An encoder's output from what was stored of it.

    Hidden states that nobody taps come back with width zero.

    Args:
        frames: ``[B, S, E]``.
        frame_lengths: ``[B]``.
        taps: ``[B, K, W, E]``, or None where none were stored.
        tap_indices: which hidden states they are.
        tap_lengths: ``[B]`` frames of them that count; None: the whole window.
    """
    states: tuple[Tensor, ...] = ()
    if taps is not None:
        absent = taps.new_zeros(len(taps), taps.shape[2], 0)
        by_index = dict(zip(tap_indices, taps.unbind(1), strict=True))
        states = tuple(by_index.get(i, absent) for i in range(max(tap_indices) + 1))
    return EncoderOutput(frames, states, frame_lengths, tap_lengths)


def _is_whole(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with safe_open(path, "pt") as file:
            return "frames" in file.keys()  # noqa: SIM118
    except (SafetensorError, OSError):
        return False
