"""Rows that meet for every pass get what they would have got alone, whatever the others do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from dllm_audio import (
    AdaptiveSampler,
    BlockSampler,
    CachedParallelSampler,
    ClassifierFreeGuidance,
    Dream,
    DreamConfig,
    EditingSampler,
    Factor,
    LLaDA,
    LowConfidenceSampler,
    MaskedLMBackbone,
    RemaskingSampler,
    Threshold,
    WINOSampler,
    condition,
)
from dllm_audio.outputs import SamplerOutput
from dllm_audio.samplers import KLASS, DecodingStep, RhoEOS, Sampler
from dllm_audio.serving.meeting import Meeting, SeatedBackbone
from dllm_audio.serving.passes import Pass, batches
from small_parts import EOS, MASK, VOCAB, WIDTH, random_audio, small_llada

LENGTH = 8
SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "low confidence": lambda: LowConfidenceSampler(5, LENGTH),
    "blocks": lambda: BlockSampler(8, LENGTH, 4),
    "prefix cache": lambda: CachedParallelSampler(LENGTH, 4, Threshold(0.3)),
    "dual cache": lambda: CachedParallelSampler(LENGTH, 4, Factor(1.0), cache="dual"),
    "prompt computed once": lambda: CachedParallelSampler(LENGTH, 2, refresh="response"),
    "refreshed": lambda: CachedParallelSampler(LENGTH, 4, Threshold(0.3), refresh_interval=2),
    "no cache": lambda: CachedParallelSampler(LENGTH, 4, Threshold(0.3), cache=None),
    "longer": lambda: CachedParallelSampler(13, 5, Threshold(0.3)),
    "guided": lambda: LowConfidenceSampler(4, LENGTH, guidance=ClassifierFreeGuidance(0.8)),
    "guided, cached": lambda: CachedParallelSampler(
        LENGTH, 4, Threshold(0.3), guidance=ClassifierFreeGuidance(0.8, "audio")
    ),
    "warm": lambda: CachedParallelSampler(LENGTH, 4, Threshold(0.3), temperature=0.7),
    "context": lambda: CachedParallelSampler(LENGTH, 4, Threshold(0.3), context="prefix"),
    "watching": lambda: Sampler(LENGTH, 4, KLASS(6)),
    "shadow": lambda: WINOSampler(LENGTH, 4, cache="prefix"),
    "editing": lambda: EditingSampler(LENGTH, 4),
    "remasking": lambda: RemaskingSampler(LENGTH, 4, cache="dual"),
    "adaptive": lambda: AdaptiveSampler(
        RhoEOS(initial_gen_length=4, max_gen_length=12), 4, cache="prefix"
    ),
}


def predictor(backbone: Any, row: int) -> Any:
    """A prompt with sound; every row has another length."""
    generator = torch.Generator().manual_seed(row)
    ids = torch.randint(0, EOS, (1, 3 + 2 * row), generator=generator)
    audio = random_audio([1 + row], seed=row, junk=0.0)
    dtype = next(backbone.parameters()).dtype
    audio = type(audio)(audio.embeds.to(dtype), audio.lengths)
    return condition(backbone, ids, audio=audio, audio_start=1)


def options(sampler: Sampler, row: int) -> dict[str, Any]:
    warm = sampler.options.temperature > 0
    return {"generator": torch.Generator().manual_seed(row)} if warm else {}


def decode_together(
    backbone: Any, samplers: Sequence[Sampler], late: Sequence[int] = ()
) -> tuple[list[SamplerOutput], list[int]]:
    """One row for each sampler, and the rows of each batch; ``late`` rows sit down later."""
    observed: list[int] = []
    meeting = Meeting(backbone, observed.append)
    seated = threading.Barrier(len(samplers) - len(late))
    begun = threading.Event()

    def decode(row: int) -> SamplerOutput:
        asked = predictor(backbone, row)
        if row in late:
            begun.wait()
        with meeting.seat() as asked.backbone:
            if row not in late:
                seated.wait()
            sampler = samplers[row]
            *_, last = (_told(begun, s) for s in sampler.stream(asked, **options(sampler, row)))
        assert last.output is not None
        return last.output

    with ThreadPoolExecutor(len(samplers)) as pool:
        found = list(pool.map(decode, range(len(samplers))))
    meeting.close()
    return found, observed


def _told(begun: threading.Event, step: DecodingStep) -> DecodingStep:
    begun.set()
    return step


def check_equal_to_alone(
    backbone: Any, samplers: Sequence[Sampler], found: Sequence[SamplerOutput]
) -> None:
    for row, (sampler, output) in enumerate(zip(samplers, found, strict=True)):
        alone = sampler(predictor(backbone, row), **options(sampler, row))
        assert torch.equal(output.tokens, alone.tokens), (row, sampler)
        assert torch.equal(output.row_nfe, alone.row_nfe), (row, sampler)


@pytest.fixture(scope="module")
def llada() -> LLaDA:
    return small_llada(n_kv_heads=2).double()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_row_is_what_it_is_alone(llada: LLaDA, name: str) -> None:
    samplers = [SAMPLERS[name]() for _ in range(3)]
    found, _ = decode_together(llada, samplers)
    check_equal_to_alone(llada, samplers, found)


def test_rows_of_different_samplers_share_passes(llada: LLaDA) -> None:
    samplers = [make() for make in SAMPLERS.values()]
    found, observed = decode_together(llada, samplers)
    check_equal_to_alone(llada, samplers, found)
    assert max(observed) > len(samplers) // 2


def test_rows_come_in_between_passes(llada: LLaDA) -> None:
    samplers: list[Sampler] = [LowConfidenceSampler(8, LENGTH) for _ in range(2)]
    samplers += [SAMPLERS[name]() for name in ("prefix cache", "guided", "no cache")]
    found, _ = decode_together(llada, samplers, late=(2, 3, 4))
    check_equal_to_alone(llada, samplers, found)


def test_equal_rows_take_one_batch_for_each_pass(llada: LLaDA) -> None:
    meeting_rows = 3
    samplers = [LowConfidenceSampler(4, LENGTH) for _ in range(meeting_rows)]
    observed: list[int] = []
    meeting = Meeting(llada, observed.append)
    seated = threading.Barrier(meeting_rows)

    def decode(sampler: Sampler) -> int:
        asked = predictor(llada, 1)  # the same for all
        with meeting.seat() as asked.backbone:
            seated.wait()
            return sampler(asked).nfe

    with ThreadPoolExecutor(meeting_rows) as pool:
        assert set(pool.map(decode, samplers)) == {4}
    meeting.close()
    assert observed == [meeting_rows] * 4


@pytest.mark.parametrize("name", ["prefix cache", "dual cache", "no cache", "guided", "blocks"])
@pytest.mark.parametrize("kind", ["float32", "block-causal", "dream", "masked-lm"])
def test_other_backbones(kind: str, name: str) -> None:
    torch.manual_seed(1)
    backbone: Any
    if kind == "float32":
        backbone = small_llada(n_kv_heads=2)
    elif kind == "block-causal":
        backbone = small_llada(causal_block_length=4).double()
    elif kind == "dream":
        sizes = {
            "hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 32, "vocab_size": VOCAB, "max_position_embeddings": 512,
        }  # fmt: skip
        ids = {"mask_token_id": MASK, "eos_token_id": EOS, "initializer_range": 0.4}
        backbone = Dream(DreamConfig(**sizes, **ids)).double().eval()
    else:
        from transformers import BertConfig, BertForMaskedLM

        config = BertConfig(
            vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2,
            intermediate_size=32, initializer_range=0.4,
        )  # fmt: skip
        model = BertForMaskedLM(config).double()
        backbone = MaskedLMBackbone(model, mask_token_id=MASK, eos_token_id=EOS).eval()
        if "cache" in name and name != "no cache":
            pytest.skip("it keeps no keys and values")
    samplers = [SAMPLERS[name]() for _ in range(3)]
    found, observed = decode_together(backbone, samplers)
    check_equal_to_alone(backbone, samplers, found)
    assert max(observed) > 1


def test_an_exact_cache_stays_exact() -> None:
    backbone = small_llada(causal_block_length=4).double()
    samplers = [CachedParallelSampler(LENGTH, 4, Threshold(0.3), cache="exact") for _ in range(3)]
    found, observed = decode_together(backbone, samplers)
    check_equal_to_alone(backbone, samplers, found)
    assert max(observed) > 1


def test_passes_of_unlike_lengths_are_not_padded_to_one(llada: LLaDA) -> None:
    def asked(length: int) -> Pass:
        return Pass(torch.zeros(1, length, WIDTH), torch.arange(length)[None])

    passes = [asked(length) for length in (10, 400, 12, 380, 11)]
    assert sorted(map(sorted, batches(llada, passes))) == [[0, 2, 4], [1, 3]]


def test_what_a_backbone_cannot_join_runs_alone(llada: LLaDA) -> None:
    """A cache of somebody's own backbone may want its slots: such passes are not merged."""

    class Own:
        config = llada.config

    cache = llada.new_cache(1, 4)
    rows = torch.zeros(1, 4, WIDTH), torch.arange(4)[None]
    cached = Pass(*rows, cache=cache)
    assert batches(llada, [cached, cached]) == [[0, 1]]
    assert batches(Own(), [cached, cached]) == [[0], [1]]  # type: ignore[arg-type]
    assert batches(Own(), [Pass(*rows), Pass(*rows)]) == [[0, 1]]  # type: ignore[arg-type]


def test_a_row_that_fails_fails_alone(llada: LLaDA) -> None:
    """A pass that raises is computed row by row; the others get their answers."""

    class Fragile(torch.nn.Module):
        """Breaks on a batch in which any position is far along."""

        joins_caches = True

        def __init__(self) -> None:
            super().__init__()
            self.llada = llada
            self.config = llada.config

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(llada, name)

        def forward(self, position_ids: torch.Tensor, **arguments: Any) -> Any:
            if int(position_ids.max()) > 18:
                raise RuntimeError("out of memory")
            return llada(position_ids=position_ids, **arguments)

    backbone, meeting_rows = Fragile(), 4
    meeting = Meeting(backbone)
    seated = threading.Barrier(meeting_rows)
    sampler = LowConfidenceSampler(4, LENGTH)

    def decode(row: int) -> object:
        asked = predictor(llada, row)
        try:
            with meeting.seat() as asked.backbone:
                seated.wait()
                return sampler(asked).tokens
        except RuntimeError as error:
            return str(error)

    with ThreadPoolExecutor(meeting_rows) as pool:
        found = list(pool.map(decode, range(meeting_rows)))
    meeting.close()
    assert found[3] == "out of memory"  # 9 + 4 + 8 positions
    for row in range(3):
        assert torch.equal(found[row], sampler(predictor(llada, row)).tokens)  # type: ignore[arg-type]


def test_a_row_that_is_told_to_end_leaves_before_its_next_pass(llada: LLaDA) -> None:
    passes: list[int] = []

    class EndError(Exception):
        pass

    def check() -> None:
        passes.append(len(passes))
        if len(passes) > 2:
            raise EndError

    observed: list[int] = []
    meeting = Meeting(llada, observed.append)
    asked = predictor(llada, 0)
    with pytest.raises(EndError), meeting.seat(check) as asked.backbone:
        LowConfidenceSampler(8, LENGTH)(asked)
    assert observed == [1, 1]
    asked = predictor(llada, 0)
    with meeting.seat() as asked.backbone:  # nobody waits for the one that left
        assert LowConfidenceSampler(8, LENGTH)(asked).nfe == 8
    meeting.close()


def test_a_seated_backbone_is_the_backbone_in_all_else(llada: LLaDA) -> None:
    seated = SeatedBackbone(llada, lambda what: torch.zeros(0))
    assert seated.config is llada.config
    assert seated.takes_visible
    assert not hasattr(SeatedBackbone(MaskedLMBackbone.__new__(MaskedLMBackbone), min), "new_cache")  # type: ignore[arg-type]
