"""Whisper's own decoder as a prior: words with confidences and times, from a folder or a file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..audio import stream_windows
from ..audio.units import SAMPLING_RATE
from ..encoders.openai import read_openai
from ..errors import CheckpointError, InvalidArgumentError
from ..protocols import AudioSource
from ..transformers_config import read_config
from ..weights import iter_weights, load_weights, read_json, resolve_directory
from .hypothesis import Hypothesis, Word

WINDOW_SECONDS = 30.0
_POSITIONS = 1500  # of the encoder in 30 s, which Whisper's decoding takes for granted
_SMALLEST_VOCABULARY = 51864
_LAYER = re.compile(r"layers\.(\d+)\.(.+)\.(weight|bias)")
_IN_LAYER = {
    **{f"self_attn.{a}": f"attn.{b}" for a, b in
       (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "out"))},
    **{f"encoder_attn.{a}": f"cross_attn.{b}" for a, b in
       (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "out"))},
    "self_attn_layer_norm": "attn_ln",
    "encoder_attn_layer_norm": "cross_attn_ln",
    "fc1": "mlp.0",
    "fc2": "mlp.2",
    "final_layer_norm": "mlp_ln",
}  # fmt: skip
_TOP = {
    "embed_positions.weight": "positional_embedding",
    "embed_tokens.weight": "token_embedding.weight",
}
_TIED = "proj_out.weight"  # the embedding once more


class WhisperPrior:
    """Transcribes with openai-whisper's decoding, whichever layout the weights have.

    Decoding is greedy, so that the same sound gives the same words.  A recording is heard in
    windows of 30 s, cut at pauses, in bounded memory.

    Args:
        source: a folder or hub id in transformers' layout, or a checkpoint file of openai-whisper.
        device: where it computes; None: the CPU.
        language: code such as ``en``; None: what Whisper hears in each window.

    Raises:
        CheckpointError: missing, incomplete or damaged weights, or no whole Whisper.
        InvalidArgumentError: a language that Whisper does not know.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        device: torch.device | str | None = None,
        language: str | None = None,
    ) -> None:
        from whisper.tokenizer import LANGUAGES

        if language is not None and language not in LANGUAGES:
            expected = f"a code such as en, de, fr (Whisper knows {len(LANGUAGES)})"
            raise InvalidArgumentError("language", expected, repr(language))
        self.language = language
        self.model = load_whisper(source, device=device)

    def transcribe(self, waveform: Tensor) -> Hypothesis:
        """What is said in a sound of at most 30 s.

        Args:
            waveform: float32 ``[T]``, 16 kHz.

        Returns:
            Words with confidences, and times from the start of the sound; perhaps none.
        """
        found = self.model.transcribe(
            waveform.to(self.model.device, torch.float32),
            language=self.language if self.model.is_multilingual else None,
            temperature=0.0,
            word_timestamps=True,
            condition_on_previous_text=False,
            fp16=False,
            verbose=None,
        )
        pieces = [word for segment in found["segments"] for word in segment.get("words", ())]
        return Hypothesis(tuple(_words(pieces, len(waveform) / SAMPLING_RATE)))

    def hear(self, source: AudioSource, *, allow_truncated: bool = False) -> Hypothesis:
        """What is said in a recording of any length.

        Args:
            source: what ``load_audio`` takes.
            allow_truncated: go up to where a file ends early instead of raising.

        Raises:
            AudioError: it cannot be used.
        """
        words: list[Word] = []
        stream = stream_windows(source, WINDOW_SECONDS, allow_truncated=allow_truncated)
        try:
            for window in stream:
                for word in self.transcribe(window.waveform).words:
                    start, end = (float(t or 0.0) + window.start for t in (word.start, word.end))
                    words.append(Word(word.text, word.confidence, start, end))
        finally:
            stream.close()
        return Hypothesis(tuple(words))


def _words(pieces: Sequence[Any], seconds: float) -> Iterator[Word]:
    """Whisper's pieces as words between spaces; what is written together is one word.

    A word of several pieces is as sure as the least sure of them; times lie inside the sound.
    """
    groups: list[list[Any]] = []
    for piece in pieces:
        if not groups or str(piece["word"])[:1].isspace() or not str(piece["word"]).strip():
            groups.append([])
        groups[-1].append(piece)
    for group in groups:
        texts = "".join(str(piece["word"]) for piece in group).split()
        sure = min(1.0, max(0.0, min(float(piece["probability"]) for piece in group)))
        # The last moment of a sound belongs to no window any more.
        start = min(max(float(group[0]["start"]), 0.0), seconds)
        end = min(max(float(group[-1]["end"]), start), seconds)
        for text in texts:
            yield Word(text, sure, start, end)


def load_whisper(source: str | Path, *, device: torch.device | str | None = None) -> Any:
    """A whole openai-whisper model from either layout, in float32; no code is run.

    Args:
        source: a folder or hub id in transformers' layout, or a checkpoint file of openai-whisper.
        device: None: the CPU.

    Raises:
        CheckpointError: missing, incomplete or damaged; names the file and the tensors concerned.
    """
    if Path(source).expanduser().is_file():
        path = Path(source).expanduser()
        dims, state = read_openai(path)
        model = _built(dims, str(path))
        # The mask of the decoder is a constant, which older checkpoints hold and newer ones do not.
        wanted = model.state_dict()
        weights = ((name, tensor) for name, tensor in state.items() if name in wanted)
        load_weights(model, weights, source=str(path), dtype=torch.float32, device=device or "cpu")
        return model.to(device or "cpu").eval()
    root = resolve_directory(source)
    config: Any = read_config(root, "whisper")
    model = _built(
        {
            "n_mels": config.num_mel_bins,
            "n_audio_ctx": config.max_source_positions,
            "n_audio_state": config.d_model,
            "n_audio_head": config.encoder_attention_heads,
            "n_audio_layer": config.encoder_layers,
            "n_vocab": config.vocab_size,
            "n_text_ctx": config.max_target_positions,
            "n_text_state": config.d_model,
            "n_text_head": config.decoder_attention_heads,
            "n_text_layer": config.decoder_layers,
        },
        str(root),
    )
    pairs = iter_weights(root, "cpu", wanted=lambda name: name != _TIED, pickled=True)
    renamed = ((openai_name(name), tensor) for name, tensor in pairs)
    load_weights(model, renamed, source=str(root), dtype=torch.float32)
    _align_by(model, root)
    return model.to(device or "cpu").eval()


def openai_name(name: str) -> str:
    """openai-whisper's name of a tensor in transformers' layout; unknown names stay.

    Example:
        >>> openai_name("model.decoder.layers.3.encoder_attn.q_proj.weight")
        'decoder.blocks.3.cross_attn.query.weight'
    """
    half, _, inside = name.removeprefix("model.").partition(".")
    layer = _LAYER.fullmatch(inside)
    if layer and layer[2] in _IN_LAYER:
        return f"{half}.blocks.{layer[1]}.{_IN_LAYER[layer[2]]}.{layer[3]}"
    last = "ln_post" if half == "encoder" else "ln"
    return f"{half}.{_TOP.get(inside, inside.replace('layer_norm.', f'{last}.'))}"


def _built(dims: Any, source: str) -> Any:
    from whisper.model import ModelDimensions, Whisper

    names = ModelDimensions.__dataclass_fields__
    wrong = [n for n in names if not isinstance(dims.get(n), int) or not 1 <= dims[n] < 2**20]
    if wrong:
        raise CheckpointError(f"{source}: expected positive integers as {', '.join(wrong)}")
    found = ModelDimensions(**{name: dims[name] for name in names})
    if found.n_audio_ctx != _POSITIONS:
        expected = f"{_POSITIONS} positions of the encoder (30 s)"
        raise CheckpointError(f"{source}: expected {expected}, got {found.n_audio_ctx}")
    if found.n_vocab < _SMALLEST_VOCABULARY:
        raise CheckpointError(f"{source}: expected Whisper's vocabulary, got {found.n_vocab} ids")
    try:
        return Whisper(found)
    except (AssertionError, ValueError, RuntimeError) as error:
        sizes = asdict(found)
        raise CheckpointError(f"{source}: no Whisper has the sizes {sizes} ({error})") from error


def _align_by(model: Any, root: Path) -> None:
    """Take times from the attention heads that the folder names; else of the upper layers."""
    path = root / "generation_config.json"
    heads = read_json(path).get("alignment_heads") if path.is_file() else None
    if heads is None:
        return
    mask = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head, dtype=torch.bool)
    try:
        for layer, head in heads:
            mask[layer, head] = True
    except (TypeError, ValueError, IndexError) as error:
        expected = "pairs of a layer and a head"
        raise CheckpointError(
            f"{path}: alignment_heads: expected {expected}, got {heads!r:.80}"
        ) from error
    model.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
