"""Recorded passes give the tokens of plain ones, whatever is recorded and replayed when."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dllm_audio import (
    AudioDiffusionLM,
    CachedParallelSampler,
    LLaDA,
    LLaDAConfig,
    Threshold,
    condition,
)
from dllm_audio.backbones import GraphedBackbone
from dllm_audio.errors import InvalidArgumentError
from small_parts import character_tokenizer, small_model

CONFIG = LLaDAConfig(
    d_model=32,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    mlp_hidden_size=48,
    vocab_size=40,
    init_std=0.5,
    mask_token_id=39,
    eos_token_id=38,
)


class Tape:
    """Records on any device: a replay runs the same call and fills the same tensor."""

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def __call__(self, call: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        self.recorded += 1
        output = torch.full_like(call(), float("nan"))  # a capture computes nothing

        def replay() -> None:
            self.replayed += 1
            output.copy_(call())

        return replay, output


@pytest.fixture
def llada() -> LLaDA:
    torch.manual_seed(0)
    return LLaDA(CONFIG).eval().requires_grad_(False)


def _prompts(batch: int) -> tuple[Tensor, Tensor]:
    ids = torch.randint(0, 38, (batch, 9))
    mask = torch.ones(batch, 9, dtype=torch.bool)
    for row in range(batch):
        mask[row, : 2 * row] = False
    return ids, mask


@pytest.mark.parametrize("cache", ["prefix", "dual"])
@pytest.mark.parametrize("batch", [1, 3])
def test_tokens_are_those_of_the_plain_backbone(llada: LLaDA, cache: str, batch: int) -> None:
    ids, mask = _prompts(batch)
    sampler = CachedParallelSampler(
        gen_length=12, block_length=4, commit=None, steps=12, cache=cache, eos_stop=False
    )
    tape = Tape()
    graphed = GraphedBackbone(llada, recorder=tape)
    for _ in range(2):  # the second time with recordings of the first, where they fit
        expected = sampler(condition(llada, ids, prompt_mask=mask))
        found = sampler(condition(graphed, ids, prompt_mask=mask))
        assert torch.equal(found.tokens, expected.tokens)
        assert found.nfe == expected.nfe
    assert 0 < tape.recorded < tape.replayed


def test_one_recording_serves_every_block_of_a_cache(llada: LLaDA) -> None:
    ids, _ = _prompts(1)
    tape = Tape()
    predictor = condition(GraphedBackbone(llada, recorder=tape), ids)
    plain = condition(llada, ids)
    x = torch.full((1, 12), CONFIG.mask_token_id)
    ours, theirs = predictor.new_cache(12), plain.new_cache(12)
    with torch.inference_mode():
        predictor(x, cache=ours), plain(x, cache=theirs)
        for start in (0, 4, 8):
            window = torch.arange(start, start + 4)
            x[:, start] = start
            for positions in (window, window[None, 2:]):
                torch.testing.assert_close(
                    predictor(x, positions, cache=ours, window=window),
                    plain(x, positions, cache=theirs, window=window),
                )
    assert (tape.recorded, tape.replayed) == (1, 6)


def test_later_calls_and_other_prompts_find_the_recordings(llada: LLaDA) -> None:
    tape = Tape()
    graphed = GraphedBackbone(llada.double(), recorder=tape)
    sampler = CachedParallelSampler(12, 4, Threshold(0.5), cache="dual", eos_stop=False)
    recorded = []
    for length in (9, 9, 14, 5, 9):
        ids = torch.randint(0, 38, (2, length))
        expected = sampler(condition(llada, ids))
        assert torch.equal(sampler(condition(graphed, ids)).tokens, expected.tokens)
        recorded.append(tape.recorded)
    # At most two and one rows; nothing new from the second call on but for rows that leave.
    assert recorded[-1] <= 2
    assert tape.replayed > 10


def test_rows_that_leave_share_recordings(llada: LLaDA) -> None:
    ids, mask = _prompts(4)
    tape = Tape()
    graphed = GraphedBackbone(llada.double(), recorder=tape)
    sampler = CachedParallelSampler(12, 4, Threshold(0.5), cache="dual")
    for _ in range(4):
        ids = torch.randint(0, 38, ids.shape)
        expected = sampler(condition(llada, ids, prompt_mask=mask))
        found = sampler(condition(graphed, ids, prompt_mask=mask))
        assert torch.equal(found.tokens, expected.tokens)
    assert tape.recorded <= 3  # for four, two and one rows


def test_a_cache_in_use_is_not_lent_twice(llada: LLaDA) -> None:
    graphed = GraphedBackbone(llada, recorder=Tape())

    def address(cache: object) -> int:
        return cache.layer(0)[0].data_ptr()  # type: ignore[attr-defined]

    first = graphed.new_cache(2, 10)
    view = first.first_rows(1)
    lent = address(first)
    second = graphed.new_cache(2, 12)
    assert address(second) != lent
    del first
    assert address(graphed.new_cache(2, 10)) != lent  # a view of it is still there
    view.layer(0)[0].fill_(float("nan"))
    del view
    later = graphed.new_cache(2, 10), graphed.new_cache(1, 5), graphed.new_cache(2, 20)
    assert lent in [address(cache) for cache in later]
    assert not any(cache.layer(0)[0].any() for cache in later)


def test_an_earlier_result_is_not_overwritten_by_a_later_replay(llada: LLaDA) -> None:
    ids, _ = _prompts(1)
    predictor = condition(GraphedBackbone(llada, recorder=Tape()), ids)
    cache = predictor.new_cache(4)
    x, window = torch.full((1, 4), CONFIG.mask_token_id), torch.arange(4)
    predictor(x, cache=cache)
    first = predictor.hidden(x, cache=cache, window=window)
    kept = first.clone()
    predictor.hidden(x.fill_(3), cache=cache, window=window)
    assert torch.equal(first, kept)


def test_the_least_recently_used_recording_goes(llada: LLaDA) -> None:
    ids, _ = _prompts(1)
    tape = Tape()
    predictor = condition(GraphedBackbone(llada, max_recordings=2, recorder=tape), ids)
    cache = predictor.new_cache(6)
    x = torch.full((1, 6), CONFIG.mask_token_id)
    predictor(x, cache=cache)
    for width, recorded in ((1, 1), (2, 2), (1, 2), (3, 3), (1, 3), (2, 4)):
        predictor(x, torch.arange(width), cache=cache, window=torch.arange(width))
        assert tape.recorded == recorded


def test_graphs_need_a_cuda_device(llada: LLaDA) -> None:
    with pytest.raises(InvalidArgumentError, match="CUDA device, got cpu"):
        GraphedBackbone(llada)


def test_a_whole_model_answers_alike_and_is_not_saved(tmp_path: Path) -> None:
    audio = [torch.sin(torch.arange(5000) * 0.2)]
    plain = small_model(character_tokenizer()).eval()
    tape = Tape()
    graphed = GraphedBackbone(plain.backbone, recorder=tape)
    model = AudioDiffusionLM.from_parts(
        plain.encoder, plain.adapter, graphed, plain.tokenizer, sampler=plain.sampler
    )
    assert (model.device, model.dtype) == (graphed.device, graphed.dtype)
    assert len(list(graphed.parameters())) == len(list(plain.backbone.parameters()))
    names = set(graphed.state_dict())
    for _ in range(2):
        expected = plain.generate(audio=audio, prompts=["What?"])
        found = model.generate(audio=audio, prompts=["What?"])
        assert torch.equal(found.output.tokens, expected.output.tokens)
    assert 0 < tape.recorded < tape.replayed
    assert (
        set(graphed.state_dict()) == names == {f"backbone.{n}" for n in plain.backbone.state_dict()}
    )
    with pytest.raises(InvalidArgumentError, match=r"registered part.*GraphedBackbone"):
        model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_forward_is_that_of_the_backbone(llada: LLaDA) -> None:
    graphed, ids = GraphedBackbone(llada, recorder=Tape()), torch.randint(0, 38, (2, 5))
    embeds = llada.embed(ids)
    assert torch.equal(graphed(ids).logits, llada(ids).logits)
    found = graphed(inputs_embeds=embeds, return_hidden=True)
    assert found.logits is None
    assert torch.equal(found.last_hidden_state, llada.hidden(embeds))
    for wrong in ({}, {"input_ids": ids, "inputs_embeds": embeds}):
        with pytest.raises(InvalidArgumentError, match="either it or inputs_embeds"):
            graphed(**wrong)


def test_the_backbone_is_called_as_a_module(llada: LLaDA) -> None:
    calls: list[object] = []
    llada.register_forward_hook(lambda module, args, output: calls.append(module))
    predictor = condition(GraphedBackbone(llada, recorder=Tape()), _prompts(1)[0])
    cache, x, window = predictor.new_cache(4), torch.full((1, 4), 39), torch.arange(4)
    predictor(x, cache=cache)
    assert len(calls) == 1
    predictor(x, cache=cache, window=window)
    assert len(calls) > 1


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_begin_without_recordings(
    llada: LLaDA, copied: Callable[[GraphedBackbone], GraphedBackbone]
) -> None:
    ids, _ = _prompts(2)
    sampler = CachedParallelSampler(12, 4, Threshold(0.5), cache="dual", eos_stop=False)
    original = GraphedBackbone(llada, recorder=Tape())
    before = len(pickle.dumps(original))
    expected = sampler(condition(original, ids))
    assert len(pickle.dumps(original)) < before + 200  # the tape's counts
    twin = copied(original)
    assert twin.backbone is not llada
    with torch.no_grad():
        llada.wte.weight.zero_()
    assert torch.equal(sampler(condition(twin, ids)).tokens, expected.tokens)


def test_weights_that_move_take_their_recordings_along(llada: LLaDA) -> None:
    ids, _ = _prompts(2)
    sampler = CachedParallelSampler(12, 4, Threshold(0.5), cache="dual", eos_stop=False)
    tape = Tape()
    graphed = GraphedBackbone(llada, recorder=tape)
    sampler(condition(graphed, ids))
    for _ in range(2):
        expected = sampler(condition(llada.double(), ids))
        recorded = tape.recorded
        found = sampler(condition(graphed, ids))
        assert torch.equal(found.tokens, expected.tokens)
    assert tape.recorded == recorded  # the second time with what was recorded in the first
    assert graphed.dtype is torch.float64


def test_a_backbone_without_a_cache_is_refused(llada: LLaDA) -> None:
    class Plain(torch.nn.Module):
        config = CONFIG

    with pytest.raises(InvalidArgumentError, match="new_cache"):
        GraphedBackbone(Plain(), recorder=Tape())


@pytest.mark.cuda
def test_cuda_graphs_give_the_tokens_of_the_plain_backbone(llada: LLaDA) -> None:
    llada.cuda()
    ids, mask = (x.cuda() for x in _prompts(3))
    sampler = CachedParallelSampler(gen_length=12, block_length=4, cache="dual", eos_stop=False)
    expected = sampler(condition(llada, ids, prompt_mask=mask))
    graphed = GraphedBackbone(llada)
    for _ in range(2):
        found = sampler(condition(graphed, ids, prompt_mask=mask))
        assert torch.equal(found.tokens, expected.tokens)


@pytest.mark.cuda
def test_a_whole_model_with_cuda_graphs_answers_and_is_pickled() -> None:
    audio = [torch.sin(torch.arange(5000) * 0.2)]
    plain = small_model(character_tokenizer()).eval().cuda()
    expected = plain.generate(audio=audio, prompts=["What?"])
    model = AudioDiffusionLM.from_parts(
        plain.encoder, plain.adapter, GraphedBackbone(plain.backbone), plain.tokenizer,
        sampler=plain.sampler,
    )  # fmt: skip
    for each in (model, model, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        found = each.generate(audio=audio, prompts=["What?"])
        assert torch.equal(found.output.tokens, expected.output.tokens)
