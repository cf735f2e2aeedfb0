"""One small part of each class that the library exports, with what uses it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertForMaskedLM,
    HubertConfig,
    HubertModel,
    Qwen2AudioEncoder,
    Qwen2AudioEncoderConfig,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

import dllm_audio
from dllm_audio import (
    AudioDiffusionLM,
    AudioDiffusionProcessor,
    CachedParallelSampler,
    ChatTemplate,
    ClassifierFreeGuidance,
    CosineSchedule,
    Dream,
    DreamConfig,
    LinearSchedule,
    LogMel,
    MaskedDiffusionLoss,
    MaskedLMBackbone,
    NoiseSchedule,
    PolynomialSchedule,
    PromptedSemanticAdapter,
    SemanticAdapter,
    TransformersEncoder,
    VRPOLoss,
    condition,
    samplers,
    toy,
)
from dllm_audio.backbones import GraphedBackbone, pack_weights
from dllm_audio.data import (
    ExampleParser,
    PreferenceCollator,
    PreferenceParser,
    TranscriptionParser,
)
from dllm_audio.data.fields import Row
from dllm_audio.losses import DPOLoss, IPOLoss, PairLengths, SimPOLoss, WithSFT
from dllm_audio.parts import registered
from dllm_audio.priors import Hypothesis, PriorTranscriber
from dllm_audio.prompts import ConditionedPredictor
from dllm_audio.training import (
    DiffusionTask,
    LoRASettings,
    PreferenceTask,
    Reference,
    Task,
    attach_lora,
)
from small_parts import VOCAB, WIDTH, character_tokenizer, small_llada, small_model
from training import tiny


class Example(NamedTuple):
    """A part and what is done with it; the same part gives the same, time after time."""

    part: Any
    use: Callable[[Any], Any]


def exported_parts() -> set[type]:
    """What is called, what commits, and noise schedules, among all exported and registered."""
    packages = [dllm_audio]
    for module in pkgutil.iter_modules(dllm_audio.__path__, "dllm_audio."):
        if module.ispkg:
            packages.append(importlib.import_module(module.name))
    named = [getattr(home, name) for home in packages for name in getattr(home, "__all__", ())]
    exported = {each for each in named if inspect.isclass(each)}
    exported |= {part for kind in ("encoder", "adapter", "backbone") for part in own(kind)}
    called = {each for each in exported if _is_part(each)}
    return called | own("commit")


def own(kind: str) -> set[type]:
    """The library's own among what is registered; tests and examples of docstrings add more."""
    found = set()
    for part in registered(kind).values():
        home = importlib.import_module(part.__module__)
        if home.__name__.startswith("dllm_audio") and hasattr(home, part.__name__):
            found.add(part)
    return found


def _is_part(cls: type) -> bool:
    if inspect.isabstract(cls) or getattr(cls, "_is_protocol", False):
        return False
    called = any("__call__" in vars(base) for base in cls.__mro__)
    return called or issubclass(cls, NoiseSchedule)


def encode(encoder: Any) -> list[Tensor]:
    waves = [torch.sin(torch.arange(n) * 0.2) for n in (4000, 6400)]
    with torch.no_grad():
        return list(encoder(*encoder.features(waves)).hidden_states)


def adapt(adapter: Any) -> Tensor:
    encoder = small_model().encoder
    features, lengths = encoder.features([torch.sin(torch.arange(6000) * 0.2)])
    with torch.no_grad():
        embeds: Tensor = adapter(encoder(features, lengths)).embeds
    return embeds


def decode(backbone: Any, sampler: Any = None) -> tuple[Tensor, Tensor, int]:
    ids = torch.randint(0, 20, (2, 5), generator=torch.Generator().manual_seed(0))
    cache = "dual" if hasattr(backbone, "new_cache") else None
    sampler = sampler or CachedParallelSampler(8, 4, cache=cache, eos_stop=False)
    found = sampler(condition(backbone, ids))
    return found.tokens, found.confidence, found.nfe


def decode_with(sampler: Any) -> tuple[Tensor, Tensor, int]:
    return decode(small_llada(), sampler)


def commit_with(rule: Any) -> tuple[Tensor, Tensor, int]:
    return decode_with(CachedParallelSampler(8, 4, rule, steps=8))


def answer(model: AudioDiffusionLM) -> tuple[list[str], Tensor]:
    found = model.generate(audio=[torch.sin(torch.arange(5000) * 0.2)], prompts=["What?"])
    return found.texts, found.output.tokens


@torch.no_grad()
def predict(predictor: ConditionedPredictor) -> Tensor:
    predictor = predictor.paired("text")
    cache = predictor.new_cache(4)
    x_t = torch.full((4, 4), predictor.mask_token_id)
    predictor(x_t, cache=cache)
    logits: Tensor = predictor(x_t, cache=cache, window=torch.arange(4))
    return logits


def prefer(loss: Any) -> list[Tensor]:
    values = [torch.tensor([-3.0, -5.0]) * k for k in (1, 2, 1.5, 1.7)]
    lengths = PairLengths(torch.tensor([4, 5]), torch.tensor([3, 6]))
    found = loss(*(values if loss.needs_reference else values[:2]), lengths=lengths)
    return [found.loss, found.margin]


def draw(schedule: NoiseSchedule) -> list[Tensor]:
    t = torch.linspace(0.1, 0.9, 5)
    return [schedule.alpha(t), schedule.alpha_derivative(t), schedule.weight(t)]


def lose(loss: MaskedDiffusionLoss) -> Tensor:
    predictor = condition(small_llada(), torch.zeros(1, 3, dtype=torch.long))
    x_0, mask = torch.tensor([[1, 2, 3]]), torch.tensor([[True, False, True]])
    return loss(predictor, x_0, mask, torch.tensor([0.6])).loss.detach()


def parse(parser: Any) -> Any:
    texts = {"question": "what?", "answer": "a", "chosen": "a", "rejected": "b", "text": "a"}
    return parser(Row({"audio": "a.wav", "target": "a", **texts}, 3, "rows"))


def ask(processor: AudioDiffusionProcessor) -> dict[str, Tensor]:
    turn = {"role": "user", "content": [{"type": "audio", "audio": torch.ones(900)},
                                        {"type": "text", "text": "What?"}]}  # fmt: skip
    return dict(processor([[turn]]))


def train(task: Task) -> Tensor:
    task.eval()
    pairs = isinstance(task, PreferenceTask)
    batch = collate(tiny.collator(pairs))
    with torch.no_grad():
        loss: Tensor = task(seeds=batch.pop("row"), **batch)["loss"]
    return loss


def collate(collator: Any) -> dict[str, Tensor]:
    records = tiny.rows(2, isinstance(collator, PreferenceCollator))
    batch: dict[str, Tensor] = collator([records[0], records[1]])
    return batch


def refer(reference: Reference) -> tuple[Any, ...]:
    return decode(reference.backbone)


class Playback:
    """Records as a CUDA graph does, on any device."""

    def __call__(self, call: Callable[[], Tensor]) -> tuple[Callable[[], Any], Tensor]:
        output = call()
        return lambda: output.copy_(call()), output


def hubert() -> TransformersEncoder:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 24, "num_conv_pos_embedding_groups": 4}
    return TransformersEncoder(HubertModel(HubertConfig(**sizes)), Wav2Vec2FeatureExtractor())


def audio_tower() -> TransformersEncoder:
    sizes = {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2}
    sizes |= {"encoder_ffn_dim": 24, "num_mel_bins": 20, "max_source_positions": 50}
    front_end = WhisperFeatureExtractor(feature_size=20, chunk_length=1)
    return TransformersEncoder(Qwen2AudioEncoder(Qwen2AudioEncoderConfig(**sizes)), front_end)


def hooked(encoder: TransformersEncoder) -> TransformersEncoder:
    encoder.model.register_forward_hook(nothing)
    return encoder


def mend(transcriber: PriorTranscriber) -> list[Any]:
    given = [Hypothesis.from_text("ab cd"), None]
    waves = [torch.sin(torch.arange(5000) * step) for step in (0.2, 0.3)]
    return [(each.text, each.confidence, each.nfe) for each in transcriber(waves, "What?", given)]


def nothing(*_: Any) -> None:
    """A hook of somebody's own."""


def bert() -> MaskedLMBackbone:
    sizes = {"vocab_size": VOCAB, "hidden_size": WIDTH, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "intermediate_size": 32}
    return MaskedLMBackbone(BertForMaskedLM(BertConfig(**sizes)), mask_token_id=39, eos_token_id=38)


def dream() -> Dream:
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "intermediate_size": 32, "vocab_size": VOCAB}
    config = DreamConfig(**sizes, initializer_range=0.4, mask_token_id=39, eos_token_id=38)
    return Dream(config)


def graphed_model() -> AudioDiffusionLM:
    plain = small_model(character_tokenizer()).eval()
    graphed = GraphedBackbone(plain.backbone, recorder=Playback())
    return AudioDiffusionLM.from_parts(
        plain.encoder, plain.adapter, graphed, plain.tokenizer, sampler=plain.sampler
    )


def packed_model() -> AudioDiffusionLM:
    model = small_model(character_tokenizer())
    pack_weights(model)
    return model


def lora_model() -> AudioDiffusionLM:
    model = small_model(character_tokenizer())
    attach_lora(model.backbone, LoRASettings(rank=2, alpha=4, dropout=0.0))
    return model


def preference_task() -> PreferenceTask:
    model = tiny.lora_model()
    return PreferenceTask(model, VRPOLoss(), Reference("adapter", model, tiny.LORA))


@torch.no_grad()
def predictor() -> ConditionedPredictor:
    return condition(small_llada(), torch.ones(2, 3, dtype=torch.long))


def guided() -> CachedParallelSampler:
    return CachedParallelSampler(8, 4, guidance=ClassifierFreeGuidance(1.5, "text"))


EXAMPLES: dict[str, Callable[[], Example]] = {
    "whole model": lambda: Example(small_model(character_tokenizer()), answer),
    "packed model": lambda: Example(packed_model(), answer),
    "graphed model": lambda: Example(graphed_model(), answer),
    "model with lora": lambda: Example(lora_model(), answer),
    "processor": lambda: Example(AudioDiffusionProcessor(character_tokenizer()), ask),
    "whisper": lambda: Example(small_model().encoder, encode),
    "hubert": lambda: Example(hubert(), encode),
    "audio tower": lambda: Example(audio_tower(), encode),
    "encoder with hooks": lambda: Example(hooked(hubert()), encode),
    "dual": lambda: Example(small_model().eval().adapter, adapt),
    "semantic": lambda: Example(SemanticAdapter(16, WIDTH), adapt),
    "acoustic": lambda: Example(small_model().eval().adapter.acoustic, adapt),
    "prompted": lambda: Example(PromptedSemanticAdapter(SemanticAdapter(16, WIDTH), 3), adapt),
    "llada": lambda: Example(small_llada(), decode),
    "block-causal llada": lambda: Example(small_llada(causal_block_length=4), decode),
    "dream": lambda: Example(dream(), decode),
    "masked lm": lambda: Example(bert().eval(), decode),
    "graphed": lambda: Example(GraphedBackbone(small_llada(), recorder=Playback()), decode),
    "predictor": lambda: Example(predictor(), predict),
    "log-mel": lambda: Example(LogMel(80), lambda part: part([torch.ones(900)])),
    "template": lambda: Example(ChatTemplate(character_tokenizer()), lambda part: part(["Hi"])),
    **{
        type(rule).__name__: partial(Example, rule, commit_with)
        for rule in (
            *(samplers.FixedQuota(8), samplers.TimestepQuota(8), samplers.Threshold(0.5)),
            *(samplers.Factor(1.5), samplers.EntropyBound(1.0), samplers.LocalLeap(0.6, 0.3, 2)),
            *(samplers.Hierarchical(0.6, 0.3), samplers.KLASS(8), samplers.Prophet(8)),
            *(samplers.WINO(), samplers.Editing(), samplers.Remasking()),
        )
    },
    **{
        type(sampler).__name__: partial(Example, sampler, decode_with)
        for sampler in (
            samplers.LowConfidenceSampler(4, 8),
            samplers.BlockSampler(4, 8, 4),
            samplers.CachedParallelSampler(8, 4),
            *(samplers.WINOSampler(8, 4), samplers.EditingSampler(8, 4)),
            samplers.RemaskingSampler(8, 4),
            samplers.AdaptiveSampler(samplers.DAEDAL(4, 8), 4),
            samplers.Sampler(8, 4, samplers.Threshold(0.5)),
        )
    },
    "guided sampler": lambda: Example(guided(), decode_with),
    "length rule": lambda: Example(
        samplers.LengthRule(4.0), lambda part: part([1.0, 2.0], limit=9)
    ),
    **{
        type(loss).__name__: partial(Example, loss, prefer)
        for loss in (DPOLoss(), VRPOLoss(), IPOLoss(), SimPOLoss(), WithSFT(IPOLoss(), 0.5))
    },
    "diffusion loss": lambda: Example(MaskedDiffusionLoss(), lose),
    **{
        type(schedule).__name__: partial(Example, schedule, draw)
        for schedule in (LinearSchedule(), CosineSchedule(), PolynomialSchedule(2.0))
    },
    **{
        type(parser).__name__: partial(Example, parser, parse)
        for parser in (ExampleParser(), TranscriptionParser(), PreferenceParser())
    },
    "diffusion collator": lambda: Example(tiny.collator(), collate),
    "preference collator": lambda: Example(tiny.collator(pairs=True), collate),
    "task": lambda: Example(
        Task(small_model(character_tokenizer())), lambda part: answer(part.model)
    ),
    "diffusion task": lambda: Example(DiffusionTask(tiny.tiny_model()), train),
    "preference task": lambda: Example(preference_task(), train),
    "reference": lambda: Example(Reference("copy", small_model()), refer),
    "prior transcriber": lambda: Example(
        PriorTranscriber(small_model(character_tokenizer()).eval()), mend
    ),
    "lesson": lambda: Example(toy.ASR, lambda part: part(range(2))),
}
