"""``AudioDiffusionLM``: encoder, adapter and backbone as one model that answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .audio import LogMel, load_audio
from .errors import CheckpointError, InvalidArgumentError
from .outputs import AudioEmbeddings, Generation, SamplerOutput
from .pretrained import is_saved_model, load_published, read_folder, write_folder
from .prompts import ChatTemplate, ConditionedPredictor, condition
from .protocols import AudioEncoder, Tokenizer
from .samplers import CachedParallelSampler, Threshold
from .weights import resolve_directory

# An answer's usual bound and block, where a checkpoint does not say otherwise.
_GENERATION = {"gen_length": 128, "block_length": 32, "threshold": 0.9}
_SNAPSHOT = ("*.json", "*.safetensors")
_PUBLISHED = (*_SNAPSHOT, "*pytorch_model.bin")


class AudioDiffusionLM(nn.Module):
    """An audio-conditioned masked-diffusion language model, put together from parts.

    Args:
        encoder: log-mel features to frames, for example :class:`dllm_audio.WhisperEncoder`.
        adapter: encoder output to :class:`dllm_audio.AudioEmbeddings`, for example
            :class:`dllm_audio.DualAdapter`.
        backbone: predicts tokens, for example :class:`dllm_audio.LLaDA`.
        tokenizer: needed for text prompts and text answers only.
        generation: ``gen_length``, ``block_length`` and ``threshold`` of the default sampler.

    Example:
        >>> model = AudioDiffusionLM.from_pretrained("my-model")  # doctest: +SKIP
        >>> model.generate(audio=["clip.wav"], prompts=["What is said?"]).texts  # doctest: +SKIP
        ['three one four']
    """

    def __init__(
        self,
        encoder: AudioEncoder,
        adapter: Callable[..., AudioEmbeddings],
        backbone: nn.Module,
        tokenizer: Tokenizer | None = None,
        *,
        generation: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.encoder: Any = encoder
        self.adapter: Any = adapter
        self.backbone: Any = backbone
        self.tokenizer: Any = tokenizer
        self.generation = _checked_generation(generation)
        self.default_sampler()  # raises now, not at the first answer

    @classmethod
    def from_pretrained(
        cls,
        dir_or_id: str | Path,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        revision: str | None = None,
        whisper: str | Path | None = None,
        llada: str | Path | None = None,
        stage: int | None = None,
    ) -> AudioDiffusionLM:
        """Load a model that :meth:`save_pretrained` wrote, or a published DIFFA checkpoint.

        Args:
            dir_or_id: local directory or hub id.
            dtype: of the weights; None is what the model's config names.
            device: where the weights go, as they are read.
            revision: hub revision.
            whisper: for a published checkpoint, which holds neither: its encoder.
            llada: and its backbone; see :func:`dllm_audio.load_diffa`.
            stage: stage of a published checkpoint; None is 2.

        Raises:
            CheckpointError: anything missing, damaged or of the wrong shape.
            InvalidArgumentError: ``whisper``, ``llada`` or ``stage`` where they do not belong, or
                missing where they do.
        """
        directory = resolve_directory(dir_or_id, revision, _SNAPSHOT)
        published = {"whisper": whisper, "llada": llada, "stage": stage}
        if not is_saved_model(directory):
            source = dir_or_id
            if revision is not None:
                source = resolve_directory(dir_or_id, revision, _PUBLISHED)
            return load_published(source, published, dtype=dtype, device=device)
        for name, value in published.items():
            if value is not None:
                expected = f"None ({directory} is no published DIFFA checkpoint)"
                raise InvalidArgumentError(name, expected, value)
        try:
            return cls(**read_folder(directory, dtype, device)).eval()
        except InvalidArgumentError as error:
            raise CheckpointError(f"{directory}: {error}") from error

    def save_pretrained(
        self, directory: str | Path, *, storage_dtype: torch.dtype | None = None
    ) -> None:
        """Write ``config.json``, safetensors and the tokenizer; see :meth:`from_pretrained`.

        Args:
            directory: made when it does not exist.
            storage_dtype: of the weights on disk, for example ``torch.float16`` to halve a
                float32 model; loading restores the model's own dtype. None keeps it.
        """
        write_folder(self, directory, storage_dtype)

    def push_to_hub(self, repo_id: str, **options: Any) -> None:
        """Save and upload; ``options`` go to ``huggingface_hub.HfApi.upload_folder``."""
        import tempfile

        from huggingface_hub import HfApi

        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            api = HfApi()
            api.create_repo(repo_id, exist_ok=True)
            api.upload_folder(repo_id=repo_id, folder_path=folder, **options)

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return next(self.backbone.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the backbone."""
        return next(self.backbone.parameters()).dtype

    def encode_audio(self, features: Tensor, lengths: Tensor) -> AudioEmbeddings:
        """Audio in the backbone's space.

        Args:
            features: ``[B, n_mels, F]`` log-mel features over the encoder's whole window.
            lengths: ``[B]`` frames that hold sound.
        """
        return self.adapter(self.encoder(features, lengths))

    def embed_audio(self, audio: Sequence[Any], *, crop: bool = False) -> AudioEmbeddings:
        """Load, featurize and encode clips.

        Args:
            audio: per row a waveform ``[T]`` at 16 kHz, anything that
                :func:`dllm_audio.load_audio` reads, or None for a row without audio.
            crop: keep the first window of longer clips instead of raising.

        Returns:
            Embeddings; a row without audio has length 0.
        """
        heard = [row for row, source in enumerate(audio) if source is not None]
        if not heard:
            raise InvalidArgumentError("audio", "at least one clip", None)
        waveforms = [
            source if isinstance(source, Tensor) else load_audio(source)
            for source in (audio[row] for row in heard)
        ]
        log_mel = LogMel(self.encoder.n_mels, chunk_length=self.encoder.window_seconds, crop=crop)
        features, lengths = log_mel([waveform.to(self.device) for waveform in waveforms])
        found = self.encode_audio(features, lengths)
        if len(heard) == len(audio):
            return found
        index = torch.tensor(heard, device=found.embeds.device)
        embeds = found.embeds.new_zeros(len(audio), *found.embeds.shape[1:])
        counts = found.lengths.new_zeros(len(audio))
        return AudioEmbeddings(
            embeds.index_copy(0, index, found.embeds), counts.index_copy(0, index, found.lengths)
        )

    def condition(
        self,
        prompt_ids: Tensor,
        audio: AudioEmbeddings | None = None,
        audio_start: Tensor | int | None = None,
        **options: Any,
    ) -> ConditionedPredictor:
        """The predictor for these prompts; ``options`` as in :func:`dllm_audio.condition`."""
        return condition(self.backbone, prompt_ids, audio=audio, audio_start=audio_start, **options)

    def default_sampler(self) -> CachedParallelSampler:
        """What :meth:`generate` uses: a confidence threshold, prefix cache and EOS stop."""
        settings = self.generation
        commit = Threshold(settings["threshold"])
        return CachedParallelSampler(settings["gen_length"], settings["block_length"], commit)

    @torch.no_grad()
    def generate(
        self,
        *,
        prompts: str | Sequence[str],
        audio: Any = None,
        sampler: Callable[..., SamplerOutput] | None = None,
        crop: bool = False,
        **options: Any,
    ) -> Generation:
        """Answer a batch of prompts about a batch of clips.

        Dropout is off while it runs, whatever mode the model is in.

        Args:
            prompts: one text a row; a single text is asked about every clip.
            audio: one clip a row (see :meth:`embed_audio`), None for text-only rows; None: no
                row has audio. A single clip, not in a list, is encoded once and serves every
                prompt.
            sampler: any sampler; None is :meth:`default_sampler`.
            crop: keep the first window of longer clips instead of raising.
            options: passed to the sampler (``generator=``, ``start=``).

        Returns:
            Texts and the sampler's output.

        Raises:
            AudioError: a clip that cannot be used.
            InvalidArgumentError: prompts and clips that do not match, or no tokenizer.
        """
        with _evaluating(self):
            predictor = self.prepare(prompts=prompts, audio=audio, crop=crop)
            output = (sampler or self.default_sampler())(predictor, **options)
        return Generation(self.decode(output), output)

    def prepare(
        self, *, prompts: str | Sequence[str], audio: Any = None, crop: bool = False
    ) -> ConditionedPredictor:
        """Everything of :meth:`generate` up to the sampler: the conditioned predictor."""
        clips = audio if isinstance(audio, list) else [audio]
        texts = [prompts] * len(clips) if isinstance(prompts, str) else list(prompts)
        if not texts or not all(isinstance(text, str) for text in texts):
            raise InvalidArgumentError("prompts", "at least one text", texts)
        shared = not isinstance(audio, list)
        if not shared and len(texts) != len(clips):
            raise InvalidArgumentError("prompts", f"one text a clip ({len(clips)})", len(texts))
        has_audio = [clip is not None for clip in clips] * (len(texts) if shared else 1)
        batch = self._template()(texts, has_audio)
        embeddings = self.embed_audio(clips, crop=crop) if any(has_audio) else None
        if embeddings is not None and shared:
            embeddings = AudioEmbeddings(
                embeddings.embeds.expand(len(texts), -1, -1), embeddings.lengths.expand(len(texts))
            )
        return self.condition(
            batch.prompt_ids.to(self.device),
            embeddings,
            batch.audio_start.to(self.device) if embeddings is not None else None,
            prompt_mask=batch.prompt_mask.to(self.device),
        )

    @property
    def end_token_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return frozenset({self._template().end_of_turn_id, self.backbone.config.eos_token_id})

    def decode(self, output: SamplerOutput) -> list[str]:
        """Answers as text: up to the first end token, without special tokens."""
        ends = self.end_token_ids
        texts = []
        for row in output.tokens.tolist():
            end = next((i for i, token in enumerate(row) if token in ends), len(row))
            texts.append(self.tokenizer.decode(row[:end], skip_special_tokens=True).strip())
        return texts

    def _template(self) -> ChatTemplate:
        if self.tokenizer is None:
            raise InvalidArgumentError("tokenizer", "one, for text prompts and answers", None)
        return ChatTemplate(self.tokenizer)


def _checked_generation(given: dict[str, Any] | None) -> dict[str, Any]:
    if given is not None and not isinstance(given, dict):
        raise InvalidArgumentError("generation", "a dict or None", type(given).__name__)
    unknown = sorted((given or {}).keys() - _GENERATION.keys())
    if unknown:
        raise InvalidArgumentError("generation", f"only {sorted(_GENERATION)}", unknown)
    settings = {**_GENERATION, **(given or {})}
    if not isinstance(settings["threshold"], int | float):
        raise InvalidArgumentError("threshold", "a number", repr(settings["threshold"]))
    return settings


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards every module has its own mode again."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
