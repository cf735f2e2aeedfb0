"""The backbone: parity with the original, masks, positions, caches, gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dllm_audio import LLaDA, LLaDAConfig
from dllm_audio.errors import InvalidArgumentError, ShapeError
from parity import load_golden, load_golden_json
from small_parts import EOS, MASK, VOCAB, WIDTH, same, small_llada

few = settings(max_examples=15)
KINDS = {"one head each": {}, "grouped": {"n_kv_heads": 2}, "one key head": {"n_kv_heads": 1}}


def golden_llada(name: str) -> LLaDA:
    llada = LLaDA(LLaDAConfig.from_dict(load_golden_json(f"{name}_config")))
    weights = load_golden(f"{name}_weights")
    llada.load_state_dict({LLaDA.names.native(k): v for k, v in weights.items()})
    return llada.eval()


@pytest.fixture(params=KINDS, scope="module")
def llada(request: pytest.FixtureRequest) -> LLaDA:
    return small_llada(**KINDS[request.param])


def random_ids(batch: int, length: int, seed: int = 0) -> Tensor:
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_logits_are_those_of_the_original() -> None:
    io = load_golden("llada_io")
    for name, expected in (("llada", "logits"), ("llada_gqa", "gqa_logits")):
        same(golden_llada(name)(io["input_ids"]).logits, io[expected], 1e-4)
    llada = golden_llada("llada")
    same(llada(inputs_embeds=io["inputs_embeds"]).logits, io["logits_from_embeds"], 1e-4)


def test_published_names_map_both_ways() -> None:
    for name in load_golden("llada_weights"):
        assert LLaDA.names.published(LLaDA.names.native(name)) == name


@torch.no_grad()
@few
@given(left=st.integers(0, 5), right=st.integers(0, 5), seed=st.integers(0, 9))
def test_padding_on_either_side_changes_nothing(left: int, right: int, seed: int) -> None:
    llada = small_llada(n_kv_heads=2)
    ids, junk = random_ids(1, 7, seed), random_ids(1, left + right, seed + 1)
    padded = torch.cat((junk[:, :left], ids, junk[:, left:]), dim=1)
    mask = torch.zeros_like(padded)
    mask[:, left : left + 7] = 1
    logits = llada(padded, attention_mask=mask).logits[:, left : left + 7]
    same(logits, llada(ids).logits)


@torch.no_grad()
def test_positions_matter_only_relative_to_each_other(llada: LLaDA) -> None:
    ids = random_ids(2, 6)
    positions = torch.arange(6).expand(2, -1)
    plain = llada(ids).logits
    same(llada(ids, position_ids=positions + 40).logits, plain, 1e-4)
    assert not torch.allclose(llada(ids, position_ids=positions * 2).logits, plain, atol=1e-2)


@torch.no_grad()
def test_every_position_sees_every_other(llada: LLaDA) -> None:
    ids = random_ids(1, 6)
    plain = llada(ids).logits
    for changed in range(6):
        other = ids.clone()
        other[0, changed] = (other[0, changed] + 1) % VOCAB
        difference = (llada(other).logits - plain).abs().amax(-1)[0]
        assert (difference > 1e-5).all()


@torch.no_grad()
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_grouped_heads_are_shared_key_heads(kv_heads: int) -> None:
    grouped = small_llada(n_kv_heads=kv_heads)
    state = grouped.state_dict()
    for name, weight in state.items():
        if "k_proj" in name or "v_proj" in name:
            heads = weight.view(kv_heads, -1, WIDTH)
            state[name] = heads.repeat_interleave(4 // kv_heads, dim=0).reshape(-1, WIDTH)
    expanded = small_llada()
    expanded.load_state_dict(state)
    ids = random_ids(2, 9)
    same(grouped(ids).logits, expanded(ids).logits)


@torch.no_grad()
def test_chosen_positions_are_those_rows_of_the_whole(llada: LLaDA) -> None:
    embeds = llada.embed(random_ids(3, 8))
    mask = torch.ones(3, 8, dtype=torch.bool)
    mask[1, :3] = False
    whole = llada.hidden(embeds, attention_mask=mask)
    positions = torch.tensor([[7, 3, 3], [4, 5, 6], [0, 1, 7]])
    chosen = llada.hidden(embeds, attention_mask=mask, output_positions=positions)
    same(chosen, torch.stack([whole[row, positions[row]] for row in range(3)]))


@torch.no_grad()
def test_a_full_pass_with_cache_is_one_without_bit_for_bit(llada: LLaDA) -> None:
    embeds = llada.embed(random_ids(2, 8))
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[0, :2] = False
    cache = llada.new_cache(2, 8)
    plain = llada.hidden(embeds, attention_mask=mask)
    assert torch.equal(llada.hidden(embeds, attention_mask=mask, cache=cache), plain)


@torch.no_grad()
@few
@given(start=st.integers(0, 7), width=st.integers(1, 8), padding=st.integers(0, 3))
def test_a_window_equals_the_full_pass_when_nothing_else_changed(
    start: int, width: int, padding: int
) -> None:
    llada = small_llada(n_kv_heads=2)
    embeds = llada.embed(random_ids(2, 8))
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[1, :padding] = False
    positions = mask.long().cumsum(-1).sub(1).clamp(min=0)
    cache = llada.new_cache(2, 8)
    whole = llada.hidden(embeds, position_ids=positions, attention_mask=mask, cache=cache)
    window = torch.arange(start, min(start + width, 8))
    part = llada.hidden(
        embeds[:, window],
        position_ids=positions[:, window],
        attention_mask=mask,
        cache=cache,
        slots=window,
    )
    same(part, whole[:, window])


@torch.no_grad()
def test_one_layer_makes_a_window_exact_after_its_own_tokens_changed() -> None:
    # Deeper models reuse stale keys by design; in one layer nothing outside depends on the window.
    llada = small_llada(n_layers=1)
    before, after = random_ids(1, 8, 0), random_ids(1, 8, 0)
    window = torch.arange(3, 6)
    after[:, window] = (after[:, window] + 5) % VOCAB
    cache = llada.new_cache(1, 8)
    llada.hidden(llada.embed(before), cache=cache)
    part = llada.hidden(
        llada.embed(after[:, window]), position_ids=window[None], cache=cache, slots=window
    )
    same(part, llada.hidden(llada.embed(after))[:, window])


def test_gradient_checkpointing_changes_no_gradient(llada: LLaDA) -> None:
    gradients = []
    for enabled in (False, True):
        copied = copy.deepcopy(llada).train()
        if enabled:
            copied.gradient_checkpointing_enable({"use_reentrant": False})
        copied(random_ids(2, 6)).logits.logsumexp(-1).sum().backward()
        gradients.append([p.grad for p in copied.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        assert plain is not None
        assert torch.equal(plain, recomputed)


def test_gradient_checkpointing_keeps_fewer_activations() -> None:
    def saved_bytes(llada: LLaDA) -> int:
        total = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal total
            total += tensor.nbytes
            return tensor

        embeds = llada.embed(random_ids(2, 32)).detach().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            llada(inputs_embeds=embeds)
        return total

    llada = small_llada(n_layers=3).train()
    plain = saved_bytes(llada)
    llada.gradient_checkpointing_enable()
    assert saved_bytes(llada) < plain / 3
    llada.gradient_checkpointing_disable()
    assert saved_bytes(llada) == plain
    with pytest.raises(InvalidArgumentError, match="use_reentrant"):
        llada.gradient_checkpointing_enable({"use_reentrant": True})


@torch.no_grad()
def test_half_precision_is_close_to_single(llada: LLaDA) -> None:
    ids = random_ids(2, 10)
    plain = llada(ids).logits
    half = copy.deepcopy(llada).to(torch.bfloat16)(ids).logits
    assert half.dtype == torch.bfloat16
    assert (half.float() - plain).norm() < 0.05 * plain.norm()


@torch.no_grad()
def test_rotations_are_exact_at_far_positions_in_half_precision() -> None:
    # In half precision the positions 4000 and 4001 would be one number.
    llada = small_llada().to(torch.bfloat16)
    ids = random_ids(1, 8)
    far = torch.arange(8)[None] + 4000
    difference = llada(ids, position_ids=far).logits.float() - llada(ids).logits.float()
    assert difference.abs().max() < 0.05 * llada(ids).logits.float().abs().max()


@torch.no_grad()
def test_autocast_works_with_masks_and_caches() -> None:
    llada = small_llada()
    embeds = llada.embed(random_ids(2, 8))
    mask = torch.ones(2, 8, dtype=torch.bool)
    mask[0, :2] = False
    plain = llada.hidden(embeds, attention_mask=mask)
    positions = mask.long().cumsum(-1).sub(1).clamp(min=0)
    window = torch.arange(4, 8)
    with torch.autocast("cpu", torch.bfloat16):
        cache = llada.new_cache(2, 8)
        whole = llada.hidden(embeds, attention_mask=mask, cache=cache)
        part = llada.hidden(
            embeds[:, 4:],
            position_ids=positions[:, 4:],
            attention_mask=mask,
            cache=cache,
            slots=window,
        )
    for actual, expected in ((whole, plain), (part, plain[:, 4:])):
        assert (actual - expected).abs()[:, -4:].max() < 0.1 * plain.abs().max()


def test_a_row_without_any_key_poisons_neither_outputs_nor_gradients() -> None:
    llada = small_llada().train()
    ids, mask = random_ids(2, 5), torch.ones(2, 5, dtype=torch.bool)
    mask[1] = False
    logits = llada(ids, attention_mask=mask).logits
    logits[0].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in llada.parameters() if p.grad is not None)
    same(logits[:1], llada(ids[:1]).logits)


def test_tied_weights_are_one_tensor() -> None:
    tied = small_llada(weight_tying=True)
    assert not any("ff_out" in name for name in tied.state_dict() if "blocks" not in name)
    untied = small_llada()
    state = {**tied.state_dict(), "ff_out.weight": tied.wte.weight}
    untied.load_state_dict(state)
    ids = random_ids(2, 5)
    same(tied(ids).logits, untied(ids).logits)


def test_the_8b_model_has_its_published_size() -> None:
    config = LLaDAConfig(mask_token_id=126336, eos_token_id=126081)
    with torch.device("meta"):
        llada = LLaDA(config)
    assert sum(p.numel() for p in llada.parameters()) == 8_015_581_184
    assert len(llada.state_dict()) == 32 * 9 + 3


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({}, "input_ids"),
        (
            {
                "input_ids": torch.zeros(1, 2, dtype=torch.long),
                "inputs_embeds": torch.zeros(1, 2, WIDTH),
            },
            "input_ids",
        ),
        ({"inputs_embeds": torch.zeros(1, 2, WIDTH + 1)}, "inputs_embeds"),
        ({"inputs_embeds": torch.zeros(2, WIDTH)}, "inputs_embeds"),
        (
            {"inputs_embeds": torch.zeros(1, 2, WIDTH), "attention_mask": torch.ones(1, 3)},
            "attention_mask",
        ),
        (
            {"inputs_embeds": torch.zeros(1, 2, WIDTH), "attention_mask": torch.ones(2, 2).bool()},
            "attention_mask",
        ),
        (
            {"inputs_embeds": torch.zeros(1, 2, WIDTH), "attention_mask": torch.zeros(1, 2)},
            "attention_mask",
        ),
    ],
)
def test_misuse_is_named(arguments: dict, name: str) -> None:
    with pytest.raises((InvalidArgumentError, ShapeError), match=f"^{name}"):
        small_llada()(**arguments)


def test_a_window_needs_positions() -> None:
    llada = small_llada()
    with pytest.raises(InvalidArgumentError, match="position_ids"):
        llada.hidden(
            torch.zeros(1, 2, WIDTH), cache=llada.new_cache(1, 4), slots=torch.tensor([0, 1])
        )


def test_ids_come_from_the_config() -> None:
    assert (small_llada().config.mask_token_id, small_llada().config.eos_token_id) == (MASK, EOS)
