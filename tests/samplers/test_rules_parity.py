"""Parity with the published code of the newer rules, alone and inside padded batches."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from dllm_audio import (
    DAEDAL,
    KLASS,
    AdaptiveSampler,
    CachedParallelSampler,
    EditingSampler,
    EntropyBound,
    LLaDA,
    LLaDAConfig,
    Prophet,
    RemaskingSampler,
    RhoEOS,
    WINOSampler,
)
from dllm_audio.samplers import Sampler
from dllm_audio.weights import load_weights
from parity import load_golden, load_golden_json

from .models import Batch

DATA = load_golden("rules_sampling")
CASES = load_golden_json("rules_sampling")["cases"]
MASK = load_golden_json("rules_sampling")["mask_token_id"]


def cases(*rules: str) -> Any:
    """The cases of some rules, as a parameter."""
    chosen = [case for case in CASES if case["rule"] in rules]
    return pytest.mark.parametrize("case", chosen, ids=[case["name"] for case in chosen])


@cache
def model(head_scale: float, mask_scale: float, eos: int | None) -> LLaDA:
    """The toy with louder or softer logits, another mask embedding and perhaps another EOS."""
    config = load_golden_json("llada_config")
    if eos is not None:
        config = {**config, "eos_token_id": eos}
    llada = LLaDA(LLaDAConfig.from_dict(config))
    weights = load_golden("llada_weights")
    load_weights(
        llada, ((LLaDA.names.native(k), v) for k, v in weights.items()), source="parity data"
    )
    llada.requires_grad_(False)
    llada.ff_out.weight *= head_scale
    llada.wte.weight[MASK] *= mask_scale
    return llada.eval()


def prompt_of(case: dict) -> list[int]:
    return DATA[case["name"] + ".prompt"][0].tolist()


def answer_of(case: dict) -> Tensor:
    return DATA[case["name"] + ".tokens"][0, case["prompt_length"] :]


def batch_of(case: dict) -> Batch:
    """The case's row between one with a longer and one with a shorter prompt."""
    backbone = model(case["head_scale"], case["mask_embedding_scale"], case.get("eos_token_id"))
    own = prompt_of(case)
    return Batch(backbone, [[*own, *own[:3], 7], own, own[:-1] or [3]])


def check(case: dict, sampler: Sampler, start: Tensor | None = None) -> None:
    """The same tokens in no more passes, alone and in the middle of a batch."""
    batch = batch_of(case)
    for predictor, row in ((batch.alone(1), 0), (batch.together(), 1)):
        given = None if start is None else start.expand(predictor.batch_size, -1)
        output = sampler(predictor, start=given)
        assert output.tokens[row].tolist() == answer_of(case).tolist()
        assert output.row_nfe[row] <= case["nfe"]


def sampler_of(case: dict, commit: Any, **options: Any) -> CachedParallelSampler:
    block = case.get("block_length", case["gen_length"])
    options = {"cache": None, "eos_stop": False, **options}
    return CachedParallelSampler(case["gen_length"], block, commit, **options)


@cases("klass")
def test_klass(case: dict) -> None:
    rule = KLASS(
        case["steps"],
        case["conf_threshold"],
        case["kl_threshold"],
        case["kl_history_length"],
        case["unmask_strategy"],
    )
    check(case, sampler_of(case, rule))


@cases("prophet")
def test_prophet(case: dict) -> None:
    rule = Prophet(
        *(case[name] for name in ("steps", "early", "mid", "late")),
        answer_start=case["answer_start"],
        answer_length=case["answer_length"],
    )
    start = torch.full((1, case["gen_length"]), MASK)
    for place, token in case.get("constraints", {}).items():
        start[0, int(place)] = token
    check(case, sampler_of(case, rule), start)


@cases("entropy_bound")
def test_entropy_bound(case: dict) -> None:
    check(case, sampler_of(case, EntropyBound(case["gamma"]), context=case["context"]))


@cases("position_biased")
def test_position_biased_entropy_bound(case: dict) -> None:
    rule = EntropyBound(case["gamma"], case["position_lambda"])
    check(case, sampler_of(case, rule, steps=case["max_nfe"]))


@cases("wino")
def test_wino(case: dict) -> None:
    lengths = case["gen_length"], case["block_length"]
    check(case, WINOSampler(*lengths, case["threshold"], case["threshold_back"]))


@cases("joint")
def test_editing(case: dict) -> None:
    sampler = EditingSampler(
        case["gen_length"],
        case["block_length"],
        case["threshold"],
        case["edit_threshold"],
        case["max_post_edit_steps"],
        case["penalty_lambda"],
        context=case["context"],
    )
    check(case, sampler)


@cases("remdm_llada")
def test_remasking(case: dict) -> None:
    """With EOS stop the original leaves what is behind the end as it stands; ours is EOS."""
    sampler = RemaskingSampler(
        case["gen_length"], case["block_length"], case["remask_number"], eos_stop=case["eos_stop"]
    )
    expected = answer_of(case)
    if case["eos_stop"]:
        ended = (expected == case["eos_token_id"]).cumsum(-1) > 0
        expected = expected.masked_fill(ended, case["eos_token_id"])
    batch = batch_of(case)
    for predictor, row in ((batch.alone(1), 0), (batch.together(), 1)):
        output = sampler(predictor)
        assert output.tokens[row].tolist() == expected.tolist()
        assert output.row_nfe[row] <= case["nfe"]


LENGTH_SETTINGS = ("initial_gen_length", "max_gen_length", "expansion_factor")


def check_length(case: dict, policy: Any) -> None:
    """As published: nothing is protected, and no row ends before its last block."""
    sampler = AdaptiveSampler(policy, case["block_length"], case["high_conf_threshold"])
    batch, expected = batch_of(case), answer_of(case)
    assert case["final_length"] == len(expected)
    for predictor, row in ((batch.alone(1), 0), (batch.together(), 1)):
        output = sampler(predictor)
        tokens = output.tokens[row, : len(expected)]
        assert tokens.tolist() == expected.tolist()
        assert (output.tokens[row, len(expected) :] == case["eos_token_id"]).all()
        assert output.row_nfe[row] <= case["nfe"]


@cases("daedal")
def test_daedal(case: dict) -> None:
    names = ("low_conf_threshold", "eos_confidence_threshold", "expand_eos_confidence_threshold")
    settings = {name: case[name] for name in (*LENGTH_SETTINGS, "eos_check_tokens", *names)}
    check_length(case, DAEDAL(**settings, protect=False))


@cases("rho_eos")
def test_rho_eos(case: dict) -> None:
    names = ("low_density_threshold", "high_density_threshold", "scheduler", "measure")
    settings = {name: case[name] for name in (*LENGTH_SETTINGS, *names)}
    if case["measure"] == "confidence":
        settings["eos_check_tokens"] = case["eos_check_tokens"]
    check_length(case, RhoEOS(**settings, protect=False))
