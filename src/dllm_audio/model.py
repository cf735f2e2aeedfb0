"""``AudioDiffusionLM``: encoder, adapter and backbone as one model that answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .asking import (
    Audio,
    Choices,
    ProcessorInputs,
    from_inputs,
    from_messages,
    from_prompts,
    load_clip,
    read_choices,
)
from .errors import CheckpointError, InvalidArgumentError
from .model_config import AudioDiffusionConfig
from .model_files import (
    build_parts,
    describe_parts,
    describe_sampler,
    plain_folder,
    read_folder,
    read_tokenizer,
    saved_folder,
    settle,
    write_folder,
)
from .modes import evaluating
from .outputs import AudioEmbeddings, Generation, SamplerOutput
from .processor import AudioDiffusionProcessor, Conversations, read_settings
from .prompts import ChatTemplate, ConditionedPredictor, condition
from .protocols import (
    AudioAdapter,
    AudioEncoder,
    AudioSource,
    MaskPredictor,
    Tokenizer,
    causal_block_length,
)
from .samplers import CachedParallelSampler, Sampler, Threshold, choose_among, from_dict
from .samplers.state import first_end
from .weights import check_hub_options, load_through_transformers, resolve_directory, single_device

if TYPE_CHECKING:
    from typing_extensions import Unpack

_SNAPSHOT = ("*.json", "*.safetensors", "chat_template.jinja")


class AudioDiffusionLM(PreTrainedModel):
    """An audio-conditioned masked-diffusion language model, put together from parts.

    :meth:`from_parts` takes the parts themselves; the constructor builds new ones from a config.

    Args:
        config: describes the parts.

    Example:
        >>> from dllm_audio.toy import clips, small_model
        >>> model = small_model()
        >>> model.generate(audio=[clips()[0].path], prompts=["What is said?"]).texts
        ['three seven five six']
    """

    config_class = AudioDiffusionConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    input_modalities = ["audio", "text"]  # noqa: RUF012 (as transformers declares it)

    def __init__(
        self,
        config: AudioDiffusionConfig,
        *,
        parts: Mapping[str, Any] | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        super().__init__(config)
        parts = build_parts(config) if parts is None else parts
        self.encoder: Any = parts["encoder"]
        self.adapter: Any = parts["adapter"]
        self.backbone: Any = parts["backbone"]
        self.tokenizer: Any = tokenizer
        self.chat_template: str | None = None
        self.sampler = None if config.sampler is None else from_dict(config.sampler)
        self.post_init()

    def init_weights(self) -> None:
        """Nothing: every part initializes itself."""

    @classmethod
    def from_parts(
        cls,
        encoder: AudioEncoder,
        adapter: AudioAdapter,
        backbone: nn.Module,
        tokenizer: Tokenizer | None = None,
        *,
        sampler: Sampler | None = None,
        training: str | None = None,
    ) -> AudioDiffusionLM:
        """Put a model together; to be saved, its parts must be registered.

        Args:
            encoder: waveforms to frames, for example :class:`dllm_audio.WhisperEncoder`.
            adapter: encoder output to :class:`dllm_audio.AudioEmbeddings`, for example
                :class:`dllm_audio.DualAdapter`.
            backbone: predicts tokens, for example :class:`dllm_audio.LLaDA`.
            tokenizer: needed for text prompts and text answers only.
            sampler: how it answers by default; None: blocks of 32, threshold 0.9, prefix cache.
            training: how it was trained, for the model card.
        """
        parts = {"encoder": encoder, "adapter": adapter, "backbone": backbone}
        config = AudioDiffusionConfig(training=training)
        model = cls(config, parts=parts, tokenizer=tokenizer)
        model.sampler = sampler
        return model

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        dir_or_id: str | Path,
        *,
        dtype: torch.dtype | None = None,
        device_map: Any = None,
        quantization_config: Any = None,
        revision: str | None = None,
        config: AudioDiffusionConfig | None = None,
        **hub_options: Any,
    ) -> AudioDiffusionLM:
        """Load a model that :meth:`save_pretrained` wrote, in evaluation mode.

        Args:
            dir_or_id: local directory or hub id.
            dtype: of all weights; None restores the type of each part.
            device_map: a device, or what accelerate takes (``"auto"``, a dict).
            quantization_config: of transformers (bitsandbytes, torchao, ...).
            revision: hub revision.
            config: instead of the folder's.
            hub_options: of transformers' auto classes; code of a checkpoint is never run.

        Raises:
            CheckpointError: anything missing, left over, damaged or of the wrong shape.
        """
        check_hub_options(hub_options)
        folder = saved_folder(resolve_directory(dir_or_id, revision, _SNAPSHOT))
        config = AudioDiffusionConfig.from_folder(folder) if config is None else config
        quantized = quantization_config or getattr(config, "quantization_config", None)
        try:
            if quantized is None and single_device(device_map):
                parts = read_folder(folder, config, dtype, device_map or "cpu")
                model = cls(config, parts=parts)
            else:
                found = dtype or config.dtype_of("backbone") or torch.float32
                options = {"device_map": device_map, "quantization_config": quantization_config}
                with plain_folder(folder) as plain:
                    model = load_through_transformers(
                        super().from_pretrained, plain, config=config, dtype=found, **options
                    )
                settle(model.parts(), config, every_buffer=True, tie=quantized is None)
            model.tokenizer = read_tokenizer(folder)
            model.chat_template = read_settings(folder).get("chat_template")
        except InvalidArgumentError as error:
            raise CheckpointError(f"{folder}: {error}") from error
        return model.eval()

    def save_pretrained(  # type: ignore[override]
        self, directory: str | Path, *, storage_dtype: torch.dtype | None = None
    ) -> None:
        """Write config, safetensors, tokenizer, processor and a model card, all or nothing.

        Args:
            directory: made when it does not exist.
            storage_dtype: of the weights on disk, for example ``torch.float16`` to halve a
                float32 model, or ``torch.int8``, with a scale for each row, to quarter it;
                loading restores the model's own dtype. None keeps it.

        Raises:
            InvalidArgumentError: a part that is not registered, or holds LoRA.
            CheckpointError: it cannot be written; what the folder held is unchanged.
        """
        processor = None if self.tokenizer is None else self.processor
        write_folder(directory, self.describe(), self.parts(), processor, storage_dtype)

    def push_to_hub(self, repo_id: str, **options: Any) -> None:  # type: ignore[override]
        """Save and upload; ``options`` go to ``huggingface_hub.HfApi.upload_folder``."""
        import tempfile

        from huggingface_hub import HfApi

        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            api = HfApi()
            api.create_repo(repo_id, exist_ok=True)
            api.upload_folder(repo_id=repo_id, folder_path=folder, **options)

    def describe(self) -> AudioDiffusionConfig:
        """The config of the parts as they are now."""
        return describe_parts(
            self.parts(),
            sampler=describe_sampler(self.sampler),
            training=self.config.training,
            license=self.config.license,
            architectures=[type(self).__name__],
        )

    def parts(self) -> dict[str, Any]:
        """Encoder, adapter and backbone, by kind."""
        return {"encoder": self.encoder, "adapter": self.adapter, "backbone": self.backbone}

    @property
    def device(self) -> torch.device:
        """Where the backbone is."""
        return next(self.backbone.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the backbone."""
        return next(self.backbone.parameters()).dtype

    @property
    def processor(self) -> AudioDiffusionProcessor:
        """Conversations to inputs of :meth:`generate`."""
        if self.tokenizer is None:
            raise InvalidArgumentError("tokenizer", "one, for text prompts and answers", None)
        rate = self.encoder.sampling_rate
        return AudioDiffusionProcessor(self.tokenizer, self.chat_template, rate)

    def get_input_embeddings(self) -> nn.Module:
        """The backbone's, as transformers and peft ask for it."""
        found: nn.Module = self.backbone.get_input_embeddings()
        return found

    def forward(self, *args: Any, **options: Any) -> Any:
        """The backbone's forward pass; audio comes in through :meth:`prepare`."""
        return self.backbone(*args, **options)

    def encode_audio(self, features: Tensor, lengths: Tensor) -> AudioEmbeddings:
        """Audio in the backbone's space.

        Args:
            features: of the encoder's front end, such as log-mel ``[B, n_mels, F]``.
            lengths: ``[B]`` steps of each that hold sound.
        """
        embeddings: AudioEmbeddings = self.adapter(self.encoder(features, lengths))
        return embeddings

    def embed_audio(
        self, audio: Sequence[AudioSource | None], *, crop: bool = False
    ) -> AudioEmbeddings:
        """Load, featurize and encode clips.

        Args:
            audio: one clip a row, or None for a row without audio.
            crop: keep the first window of longer clips instead of raising.

        Returns:
            Embeddings; a row without audio has length 0.
        """
        heard = [row for row, source in enumerate(audio) if source is not None]
        if not heard:
            raise InvalidArgumentError("audio", "at least one clip", None)
        clips = (load_clip(audio[row], self.encoder, crop) for row in heard)
        waveforms = [clip.to(self.device) for clip in clips]
        found = self.encode_audio(*self.encoder.features(waveforms))
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

    def default_sampler(self) -> Sampler:
        """What :meth:`generate` uses where no sampler is given."""
        if self.sampler is not None:
            return self.sampler
        causal = causal_block_length(self.backbone)
        if causal is not None:
            return CachedParallelSampler(128, causal, Threshold(0.9), cache="exact")
        return CachedParallelSampler(128, 32, Threshold(0.9))

    @torch.no_grad()
    def generate(  # type: ignore[override]
        self,
        *,
        prompts: str | Sequence[str] | None = None,
        messages: Conversations | None = None,
        audio: Audio = None,
        choices: Choices | None = None,
        choose_by: str = "answer",
        sampler: Sampler | None = None,
        crop: bool = False,
        **options: Any,
    ) -> Generation:
        """Answer a batch: of prompts about clips, of conversations, or of a processor's inputs.

        Dropout is off while it runs, whatever mode the model is in.

        Args:
            prompts: one text a row; a single text is asked about every clip.
            messages: a conversation, or a list of them, one a row, with their clips in audio
                blocks, as transformers' chat templates take them.
            audio: with ``prompts``: one clip a row (see :meth:`embed_audio`), None for text-only
                rows; None: no row has audio. A single clip, not in a list, is encoded once and
                serves every prompt.
            choices: the texts that may be answers, for all rows, or a list of them a row: the most
                likely one is the answer, and the result holds the probability of each (see
                :func:`dllm_audio.samplers.choose_among`); of the sampler only ``gen_length`` and
                ``guidance`` count then.
            choose_by: ``"answer"``: how likely each choice is the whole answer; ``"beginning"``:
                how likely the answer begins with it.
            sampler: None is :meth:`default_sampler`.
            crop: keep the first window of longer clips instead of raising.
            options: what the processor gives (``input_ids=``, ...); the rest is passed to the
                sampler (``generator=``, ``start=``).

        Returns:
            Texts and the sampler's output.

        Raises:
            AudioError: a clip that cannot be used.
            InvalidArgumentError: prompts and clips that do not match, or no tokenizer.
        """
        inputs = {
            name: options.pop(name) for name in ProcessorInputs.__annotations__ if name in options
        }
        with evaluating(self):
            predictor = self.prepare(
                prompts=prompts, messages=messages, audio=audio, crop=crop, **inputs
            )
            sampler = sampler or self.default_sampler()
            if choices is not None:
                return self._choose(predictor, choices, choose_by, sampler, options)
            output = sampler(predictor, **options)
        return Generation(self.decode(output) if self.tokenizer is not None else None, output)

    def _choose(
        self,
        predictor: MaskPredictor,
        choices: Choices,
        by: str,
        sampler: Sampler,
        options: Mapping[str, Any],
    ) -> Generation:
        if options:
            raise InvalidArgumentError("choices", f"None with {sorted(options)}", "a list")
        if not isinstance(sampler, Sampler):
            raise InvalidArgumentError("sampler", "a Sampler with choices", type(sampler).__name__)
        texts, ids = read_choices(self._template(), choices, predictor.batch_size)
        if sampler.options.guidance is not None:
            predictor = sampler.options.guidance.wrap(predictor)
        chosen = choose_among(
            predictor, ids, gen_length=sampler.gen_length, end_token_ids=self.end_token_ids, by=by
        )
        answers = [row[best].strip() for row, best in zip(texts, chosen.best, strict=True)]
        return Generation(answers, chosen.output, chosen.probabilities)

    def prepare(
        self,
        *,
        prompts: str | Sequence[str] | None = None,
        messages: Conversations | None = None,
        audio: Audio = None,
        crop: bool = False,
        **inputs: Unpack[ProcessorInputs],
    ) -> ConditionedPredictor:
        """Everything of :meth:`generate` up to the sampler: the conditioned predictor."""
        forms = {"prompts": prompts, "messages": messages, "input_ids": inputs.get("input_ids")}
        given = [name for name, value in forms.items() if value is not None]
        if len(given) != 1:
            raise InvalidArgumentError("prompts", f"one of {[*forms]}", given or None)
        if prompts is None and audio is not None:
            raise InvalidArgumentError("audio", f"None with {given[0]}, which hold it", "a clip")
        if messages is not None:
            asked = from_messages(self._template(), messages)
        elif prompts is not None:
            asked = from_prompts(self._template(), prompts, audio)
        else:
            asked = from_inputs(inputs)
        batch, clips = asked.prompts, asked.clips
        embeddings = self.embed_audio(clips, crop=crop) if clips else None
        if embeddings is not None and len(clips) < len(batch.audio_rows):  # one for all rows
            rows = len(batch.audio_rows)
            embeds = embeddings.embeds.expand(rows, -1, -1)
            embeddings = AudioEmbeddings(embeds, embeddings.lengths.expand(rows))
        places: dict[str, Tensor] = {}
        if embeddings is not None:
            places["audio_start"] = batch.audio_start.to(self.device)
            places["audio_rows"] = batch.audio_rows.to(self.device)
        return self.condition(
            batch.prompt_ids.to(self.device),
            embeddings,
            prompt_mask=batch.prompt_mask.to(self.device),
            **places,
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
            answer = row[: first_end(row, ends)]
            texts.append(self.tokenizer.decode(answer, skip_special_tokens=True).strip())
        return texts

    def _template(self) -> ChatTemplate:
        if self.tokenizer is None:
            raise InvalidArgumentError("tokenizer", "one, for text prompts and answers", None)
        return ChatTemplate(self.tokenizer, template=self.chat_template)
