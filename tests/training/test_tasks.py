from __future__ import annotations

import pytest
import torch

from dllm_audio import condition
from dllm_audio.data import IGNORED
from dllm_audio.diffusion import LinearSchedule
from dllm_audio.errors import InvalidArgumentError
from dllm_audio.losses import (
    DPOLoss,
    ElboSampling,
    PairLengths,
    SimPOLoss,
    VRPOLoss,
    WithSFT,
    estimate_elbo,
)
from dllm_audio.training import DiffusionTask, LoRASettings, PreferenceTask, Reference
from dllm_audio.training.noise import draw_elbo_masks, draw_noise, row_seeds

from .tiny import LORA, collator, lora_model, rows, tiny_model


def batch(count: int = 3, pairs: bool = False, step: int = 0, multiple: int | None = 8) -> dict:
    data = rows(count, pairs)
    made = collator(pairs, multiple)([data[i] for i in range(count)])
    return {**made, "seeds": row_seeds(5, step, made.pop("row"))}


def one_row(batch: dict, row: int) -> dict:
    return {name: value[row : row + 1] for name, value in batch.items()}


# The forward process.


def test_a_rows_noise_depends_on_seed_step_and_row_alone() -> None:
    labels = torch.zeros(4, 40, dtype=torch.int64)
    labels[1, 17:] = IGNORED
    seeds = row_seeds(0, 3, torch.arange(4))
    t, mask = draw_noise(labels, seeds, LinearSchedule())
    for row in range(4):
        width = 17 if row == 1 else 40  # without the batch's padding
        alone_t, alone = draw_noise(
            labels[row : row + 1, :width], seeds[row:][:1], LinearSchedule()
        )
        assert torch.equal(alone_t[0], t[row])
        assert torch.equal(alone[0], mask[row, :width])
    assert not mask[1, 17:].any()
    for other in (row_seeds(1, 3, torch.arange(4)), row_seeds(0, 4, torch.arange(4))):
        assert not torch.equal(draw_noise(labels, other, LinearSchedule())[0], t)


def test_time_is_uniform_and_masks_have_its_rate() -> None:
    labels = torch.zeros(4000, 64, dtype=torch.int64)
    t, mask = draw_noise(labels, row_seeds(0, 0, torch.arange(4000)), LinearSchedule())
    assert t.min() >= 1e-3
    assert t.max() <= 1
    edges = torch.histc(t, bins=10, min=0, max=1)
    assert ((edges - 400).square() / 400).sum() < 27.9  # chi-square, 99.9 %
    rate = mask.float().mean(-1)
    error = (rate - t) / (t * (1 - t) / 64).sqrt().clamp(min=1e-3)
    assert error.mean().abs() < 0.08
    assert error.std() == pytest.approx(1, abs=0.05)


def test_elbo_masks_do_not_depend_on_the_batch() -> None:
    labels = torch.zeros(2, 12, dtype=torch.int64)
    labels[1, 5:] = IGNORED
    seeds, sampling = row_seeds(0, 0, torch.arange(2)), ElboSampling(6)
    masks, ratios = draw_elbo_masks(labels, seeds, sampling, "chosen")
    alone, alone_ratios = draw_elbo_masks(labels[1:, :5], seeds[1:], sampling, "chosen")
    assert torch.equal(masks[:, 1, :5], alone[:, 0])
    assert torch.equal(ratios[:, 1], alone_ratios[:, 0])
    assert not masks[:, 1, 5:].any()
    other, _ = draw_elbo_masks(labels, seeds, sampling, "rejected")
    assert not torch.equal(other, masks)


# The diffusion task.


def test_the_loss_is_the_published_one() -> None:
    model, made = tiny_model().double(), batch(multiple=None)
    task = DiffusionTask(model).train()
    labels, seeds = made["labels"], made["seeds"]
    got = task(**made)["loss"]
    t, mask = draw_noise(labels, seeds, LinearSchedule())
    total = 0.0
    for row in range(len(labels)):
        prompt = made["prompt_ids"][row][made["prompt_mask"][row]][None]
        audio = model.encode_audio(
            made["features"][row : row + 1], made["feature_lengths"][row : row + 1]
        )
        predictor = condition(
            model.backbone, prompt, audio=audio, audio_start=made["audio_start"][row : row + 1]
        )
        x_t = labels[row : row + 1].masked_fill(mask[row], predictor.mask_token_id)
        log_probs = predictor(x_t).log_softmax(-1)
        picked = log_probs[0].gather(-1, labels[row][:, None])[:, 0]
        total = total - (picked * mask[row]).sum() / t[row].double()
    torch.testing.assert_close(got, total / labels.numel(), rtol=1e-7, atol=1e-9)


def test_rows_with_padding_count_their_own_targets_alone() -> None:
    task = DiffusionTask(tiny_model().double()).train()
    made = batch(4)
    counts = (made["labels"] != IGNORED).sum(-1)
    assert len(set(counts.tolist())) > 1
    whole = task(**made)["loss"]
    parts = [
        task(**one_row(made, row), num_items_in_batch=counts.sum())["loss"] for row in range(4)
    ]
    torch.testing.assert_close(sum(parts), whole, rtol=1e-9, atol=1e-12)


def test_evaluation_is_the_same_every_time_and_for_every_batching() -> None:
    task = DiffusionTask(tiny_model().double()).eval()
    made = batch(4, step=-1)
    with torch.no_grad():
        whole = task(**made)["loss"]
        assert torch.equal(task(**made)["loss"], whole)
        parts = [task(**one_row(made, row))["loss"] for row in range(4)]
    torch.testing.assert_close(sum(parts) / 4, whole, rtol=1e-9, atol=1e-12)


# The preference task.


def nudge(model) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))


@pytest.mark.parametrize("kind", ["copy", "adapter"])
def test_the_reference_stays_what_the_policy_was(kind: str) -> None:
    made = batch(pairs=True)
    model = lora_model().double()
    nudge(model)  # LoRA starts at zero, which would hide a wrong reference
    task = PreferenceTask(model, VRPOLoss(), Reference(kind, model, LORA)).train()
    assert task(**made)["margin"].abs().max() < 1e-9
    before = lora_model().double()
    before.load_state_dict(model.state_dict(), strict=False)
    nudge(model)
    after = task(**made)
    labels = {side: made[side] for side in ("chosen", "rejected")}
    estimates = []
    for side_model in (model, before):
        for side, side_labels in labels.items():
            draws = draw_elbo_masks(side_labels, made["seeds"], ElboSampling(), side)
            x_0, response = task.clean_response(side_labels)
            encoded = task.encode(made)
            predictor = task.predictor(
                side_model.adapter, side_model.backbone, encoded, made, response
            )
            estimates.append(estimate_elbo(predictor, x_0, *draws))
    torch.testing.assert_close(after["margin"], VRPOLoss()(*estimates).margin.detach())
    assert after["margin"].abs().max() > 1e-3


def test_the_base_reference_is_the_model_without_lora() -> None:
    made = batch(pairs=True)
    model = lora_model().double()
    task = PreferenceTask(model, VRPOLoss(), Reference("base", model)).train()
    plain = tiny_model().double()
    plain.adapter.load_state_dict(model.adapter.state_dict())
    nudge(model)
    policy = PreferenceTask(model, VRPOLoss(), Reference("copy", plain)).train()
    torch.testing.assert_close(task(**made)["margin"], policy(**made)["margin"])


@pytest.mark.parametrize("kind", ["copy", "adapter", "base"])
def test_everything_that_trains_and_nothing_else_gets_a_gradient(kind: str) -> None:
    model = lora_model()
    nudge(model)
    task = PreferenceTask(model, VRPOLoss(), Reference(kind, model, LORA)).train()
    nudge(model)
    names = {name for name, p in task.named_parameters() if p.requires_grad}
    task(**batch(pairs=True))["loss"].backward()
    assert {name for name, p in task.named_parameters() if p.grad is not None} == names
    assert any(".lora_A.default" in name for name in names)
    assert not any("reference" in name for name in names)
    moved = [n for n, p in task.named_parameters() if p.grad is not None and p.grad.any()]
    assert any("lora_A" in name for name in moved)
    assert {name for name, p in task.named_parameters() if p.requires_grad} == names


def test_shared_masks_are_shared_and_independent_ones_are_not() -> None:
    made = batch(pairs=True)
    model = lora_model().double()
    for objective, same in ((VRPOLoss(), True), (DPOLoss(), False)):
        task = PreferenceTask(model, objective, Reference("copy", model)).train()
        # The same weights on both sides: only the draw can make a difference.
        assert (task(**made)["margin"].abs().max() < 1e-9) == same


def test_reference_free_objectives_run_without_one() -> None:
    made, model = batch(pairs=True), lora_model()
    out = PreferenceTask(model, WithSFT(SimPOLoss(), 0.1)).train()(**made)
    assert out["loss"].isfinite()
    assert PreferenceTask(model, SimPOLoss(), Reference("copy", model)).reference is None
    with pytest.raises(InvalidArgumentError, match="reference: expected one, for VRPOLoss"):
        PreferenceTask(model, VRPOLoss())


def test_pairs_add_up_to_the_whole_step() -> None:
    made = batch(4, pairs=True)
    model = lora_model().double()
    task = PreferenceTask(model, VRPOLoss(), Reference("copy", model)).train()
    nudge(model)
    whole = task(**made)
    parts = [task(**one_row(made, row), num_items_in_batch=4) for row in range(4)]
    torch.testing.assert_close(sum(p["loss"] for p in parts), whole["loss"])
    torch.testing.assert_close(torch.cat([p["margin"] for p in parts]), whole["margin"])


def test_lengths_are_those_of_the_targets() -> None:
    seen: list[PairLengths] = []

    class Spy(SimPOLoss):
        def __call__(self, *args, lengths=None):
            seen.append(lengths)
            return super().__call__(*args, lengths=lengths)

    made = batch(4, pairs=True)
    PreferenceTask(lora_model(), Spy()).train()(**made)
    assert seen[0].chosen.tolist() == (made["chosen"] != IGNORED).sum(-1).tolist()
    assert seen[0].rejected.tolist() == (made["rejected"] != IGNORED).sum(-1).tolist()


def test_wrong_references() -> None:
    model = tiny_model()
    with pytest.raises(InvalidArgumentError, match="kind: expected one of"):
        Reference("frozen", model)
    with pytest.raises(InvalidArgumentError, match="'copy', because the backbone's own weights"):
        Reference("base", model)
    model.backbone.requires_grad_(False)
    with pytest.raises(InvalidArgumentError, match="lora: expected a policy with LoRA"):
        Reference("adapter", model, LoRASettings())
