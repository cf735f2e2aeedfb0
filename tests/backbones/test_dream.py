"""Dream: parity with the original, and shifted logits under every kind of cache and padding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from dllm_audio import Dream, DreamConfig, condition
from dllm_audio.errors import CheckpointError
from parity import load_golden, load_golden_json
from small_parts import same

CASES = load_golden_json("dream_generation")["cases"]


def golden_dream() -> Dream:
    dream = Dream(DreamConfig.from_dict(load_golden_json("dream_config")))
    weights = load_golden("dream_weights")
    dream.load_state_dict({dream.names.native(name): t for name, t in weights.items()})
    return dream.eval()


@pytest.fixture(scope="module")
def dream() -> Dream:
    return golden_dream()


@torch.no_grad()
def test_logits_are_those_of_the_original(dream: Dream) -> None:
    io = load_golden("dream_io")
    same(dream(io["input_ids"]).logits, io["logits"], 1e-4)


def confidence(p: Tensor, alg: str) -> Tensor:
    if alg == "maskgit_plus":
        return p.max(-1).values
    if alg == "topk_margin":
        best = p.topk(2).values
        return best[..., 0] - best[..., 1]
    return (p * (p + 1e-10).log()).sum(-1)


@torch.no_grad()
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_decodings_are_those_of_the_original(dream: Dream, case: dict) -> None:
    io = load_golden("dream_io")
    prompt, tokens = io[f"{case['name']}.prompt"], io[f"{case['name']}.tokens"]
    mask_id = dream.config.mask_token_id
    predictor = condition(dream, prompt)
    x = torch.full((1, case["gen_length"]), mask_id)
    times = torch.linspace(1, 1e-3, case["steps"] + 1)
    for i in range(case["steps"]):
        masked = (x[0] == mask_id).nonzero()[:, 0]
        last = i == case["steps"] - 1
        count = int(len(masked) * (1 - times[i + 1] / times[i])) if not last else len(masked)
        if count:
            p = predictor(x)[0, masked].softmax(-1)
            chosen = confidence(p, case["alg"]).topk(count).indices
            x[0, masked[chosen]] = p[chosen].argmax(-1)
    assert torch.equal(x[0], tokens[0, prompt.shape[1] :])


@torch.no_grad()
@pytest.mark.parametrize("prompt_length", [0, 1, 5])
def test_position_i_is_predicted_from_the_state_before_it(dream: Dream, prompt_length: int) -> None:
    prompt, x_t = torch.randint(200, (1, prompt_length)), torch.randint(200, (1, 7))
    whole = dream(torch.cat((prompt, x_t), 1)).logits[0]
    expected = [whole[max(prompt_length + i - 1, 0)] for i in range(7)]
    same(condition(dream, prompt)(x_t)[0], torch.stack(expected))


@torch.no_grad()
@pytest.mark.parametrize("start", [0, 3])
@pytest.mark.parametrize("lengths", [(5, 5), (5, 2), (4, 0), (0, 0)])
def test_a_window_is_the_full_pass_and_padding_changes_nothing(
    dream: Dream, start: int, lengths: tuple[int, int]
) -> None:
    columns = max(lengths)
    prompts, x_t = torch.randint(200, (2, columns)), torch.randint(200, (2, 8))
    mask = torch.arange(columns) >= columns - torch.tensor(lengths)[:, None]
    predictor = condition(dream, prompts, prompt_mask=mask)
    whole = predictor(x_t)
    cache = predictor.new_cache(8)
    assert torch.equal(predictor(x_t, cache=cache), whole)
    window = torch.arange(start, 7)
    same(predictor(x_t, cache=cache, window=window), whole[:, start:7])
    chosen = torch.tensor([[start, 6], [5, start]])
    part = predictor(x_t, chosen, cache=cache, window=window)
    same(part, torch.stack([whole[row, chosen[row]] for row in range(2)]))
    for row, length in enumerate(lengths):
        alone = condition(dream, prompts[row : row + 1, columns - length :])
        same(alone(x_t[row : row + 1]), whole[row : row + 1])


def test_a_published_folder_is_read_and_written(tmp_path: Path, dream: Dream) -> None:
    weights = load_golden("dream_weights")
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(load_golden_json("dream_config")))
    loaded = Dream.from_pretrained(tmp_path, dtype=torch.float32)
    loaded.save_pretrained(tmp_path / "saved")
    again = Dream.from_pretrained(tmp_path / "saved")
    for model in (loaded, again):
        assert model.config == dream.config
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, dream.state_dict()[name])
    weights.pop("model.norm.weight")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"ln_f"):
        Dream.from_pretrained(tmp_path)
