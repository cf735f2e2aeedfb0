from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio import AudioEmbeddings, LLaDA, LLaDAConfig, condition
from dllm_audio.errors import InvalidArgumentError, ShapeError
from dllm_audio.losses import (
    DPOLoss,
    ElboSampling,
    IPOLoss,
    PairLengths,
    SimPOLoss,
    VRPOLoss,
    WithSFT,
    draw_masks,
    estimate_elbo,
)
from parity import load_golden, load_golden_json

from .predictors import PlainPredictor

LENGTHS = PairLengths(torch.tensor([4.0, 2.0]), torch.tensor([5.0, 8.0]))
OBJECTIVES = [
    VRPOLoss(),
    DPOLoss(),
    DPOLoss(beta=0.3, label_smoothing=0.1),
    IPOLoss(),
    SimPOLoss(),
    WithSFT(VRPOLoss(), 0.5),
]
floats = st.floats(-50, 50, allow_nan=False)


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_vrpo_by_hand() -> None:
    out = VRPOLoss(beta=0.5)(t(-3.0), t(-7.0), t(-4.0), t(-6.0))
    # 0.5 * ((-3 + 4) - (-7 + 6)) = 1
    assert out.margin.item() == pytest.approx(1.0)
    assert out.loss.item() == pytest.approx(math.log(1 + math.exp(-1.0)))


def test_label_smoothing_by_hand() -> None:
    out = DPOLoss(beta=0.5, label_smoothing=0.1)(t(-3.0), t(-7.0), t(-4.0), t(-6.0))
    expected = 0.9 * math.log(1 + math.exp(-1.0)) + 0.1 * math.log(1 + math.exp(1.0))
    assert out.loss.item() == pytest.approx(expected)


def test_ipo_is_zero_exactly_at_its_target() -> None:
    out = IPOLoss(beta=0.25)(t(-1.0), t(-3.0), t(0.0), t(0.0))  # difference 2 = 1 / (2 * 0.25)
    assert out.loss.item() == 0.0
    assert IPOLoss(beta=0.25)(t(-0.5), t(-3.0), t(0.0), t(0.0)).loss.item() == pytest.approx(0.25)


def test_simpo_by_hand() -> None:
    lengths = PairLengths(t(2.0), t(4.0))
    out = SimPOLoss(beta=2.0, gamma=0.5)(t(-2.0), t(-8.0), lengths=lengths)
    assert out.margin.item() == pytest.approx(2.0)  # 2 * (-1 + 2)
    assert out.loss.item() == pytest.approx(math.log(1 + math.exp(-1.5)))


def test_the_supervised_term_is_the_chosen_loss_per_token() -> None:
    values = (t(-8.0, -6.0), t(-9.0, -1.0), t(-8.0, -5.0), t(-9.0, -2.0))
    plain, mixed = VRPOLoss()(*values), WithSFT(VRPOLoss(), 0.5)(*values, lengths=LENGTHS)
    assert (mixed.loss - plain.loss).item() == pytest.approx(0.5 * (8 / 4 + 6 / 2) / 2)
    assert torch.equal(mixed.margin, plain.margin)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@settings(max_examples=25)
@given(values=st.lists(st.tuples(floats, floats, floats, floats), min_size=2, max_size=2))
def test_gradients_match_finite_differences(objective, values) -> None:
    columns = zip(*values, strict=True)
    inputs = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in columns]

    def loss(*estimates: torch.Tensor) -> torch.Tensor:
        return objective(*estimates, lengths=LENGTHS).loss

    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_a_better_chosen_answer_raises_the_margin_and_lowers_the_loss(objective) -> None:
    reference = (t(-8.0, -6.0), t(-9.0, -7.0))
    before = objective(*reference, *reference, lengths=LENGTHS)
    after = objective(reference[0] + 1, reference[1], *reference, lengths=LENGTHS)
    assert (after.margin > before.margin).all()
    assert after.loss < before.loss


@pytest.mark.parametrize("margin", [-500.0, 500.0])
def test_extreme_margins_stay_finite(margin: float) -> None:
    chosen = torch.tensor([margin / 0.2], requires_grad=True)
    zero = torch.zeros(1)
    loss = VRPOLoss()(chosen, zero, zero, zero).loss
    loss.backward()
    assert loss.item() == pytest.approx(max(-margin, 0.0), abs=1e-6)
    assert chosen.grad.item() == pytest.approx(-0.2 if margin < 0 else 0.0)


def test_vrpo_and_dpo_differ_in_their_sampling_only() -> None:
    assert VRPOLoss().sampling == ElboSampling(num_samples=4, masks_per_timestep=1, shared=True)
    assert not DPOLoss().sampling.shared
    values = [torch.randn(3) for _ in range(4)]
    assert torch.equal(VRPOLoss(beta=0.3)(*values).loss, DPOLoss(beta=0.3)(*values).loss)


def test_gradient_of_the_whole_objective_matches_finite_differences() -> None:
    policy = PlainPredictor(2, 5, 8, dim=3, dtype=torch.float64)
    reference = PlainPredictor(2, 5, 8, dim=3, dtype=torch.float64)
    chosen, rejected = torch.randint(0, 7, (2, 2, 5))
    response = torch.arange(5) < torch.tensor([[5], [2]])
    draws = [draw_masks(response, 3), draw_masks(response, 3)]
    names = [name for name, _ in policy.named_parameters()]
    with torch.no_grad():
        fixed = [
            estimate_elbo(reference, x, *draw)
            for x, draw in zip((chosen, rejected), draws, strict=True)
        ]

    def loss(*values: torch.Tensor) -> torch.Tensor:
        for name, value in zip(names, values, strict=True):
            policy._parameters[name] = value
        estimates = [
            estimate_elbo(policy, x, *draw)
            for x, draw in zip((chosen, rejected), draws, strict=True)
        ]
        return VRPOLoss()(*estimates, *fixed).loss

    assert torch.autograd.gradcheck(
        loss, [p.detach().requires_grad_() for p in policy.parameters()]
    )


def test_errors_name_the_argument() -> None:
    one, two = torch.zeros(1), torch.zeros(2)
    with pytest.raises(InvalidArgumentError, match="reference_chosen, reference_rejected"):
        VRPOLoss()(one, one)
    with pytest.raises(ShapeError, match=r"estimates: .*\[\[2\], \[1\]"):
        VRPOLoss()(two, one, one, one)
    with pytest.raises(InvalidArgumentError, match="lengths"):
        SimPOLoss()(one, one)
    with pytest.raises(InvalidArgumentError, match="beta: expected a number > 0, got 0"):
        VRPOLoss(beta=0)
    with pytest.raises(InvalidArgumentError, match="label_smoothing"):
        DPOLoss(label_smoothing=0.5)
    with pytest.raises(InvalidArgumentError, match="weight"):
        WithSFT(VRPOLoss(), -1)
    with pytest.raises(InvalidArgumentError, match="gamma"):
        SimPOLoss(gamma=-1)


def golden_backbones():
    """The policy and the reference of the parity data."""
    config = LLaDAConfig.from_dict(load_golden_json("llada_config"))
    models = []
    for name in ("llada_weights", "llada_reference_policy_weights"):
        model = LLaDA(config)
        weights = load_golden(name)
        model.load_state_dict(
            {name.removeprefix("model.transformer."): w for name, w in weights.items()}
        )
        models.append(model.eval())
    return models


@pytest.mark.parametrize("side", ["chosen", "rejected"])
def test_parity_of_the_elbos(side: str) -> None:
    io = load_golden("diffa_io")
    policy, reference = golden_backbones()
    for model, expected in ((policy, "policy"), (reference, "ref")):
        value = golden_elbo(model, io, side)
        torch.testing.assert_close(value, io[f"vrpo_{side}_elbo_{expected}"], rtol=1e-4, atol=1e-4)


def test_parity_of_margin_and_loss() -> None:
    io, settings_ = load_golden("diffa_io"), load_golden_json("diffa_config")["vrpo"]
    policy, reference = golden_backbones()
    with torch.no_grad():
        values = [
            golden_elbo(m, io, s) for m in (policy, reference) for s in ("chosen", "rejected")
        ]
    out = VRPOLoss(beta=settings_["beta"])(*values)
    torch.testing.assert_close(out.margin, io["vrpo_margin"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(out.loss, io["vrpo_loss"].squeeze(), rtol=1e-4, atol=1e-4)


def golden_elbo(model, io, side: str) -> torch.Tensor:
    """One row at a time: their prompts differ in length, the audio is whole for both."""
    rows = []
    ids, masks, ratios = (io[f"vrpo_{side}_{name}"] for name in ("ids", "masks", "p"))
    for row, length in enumerate(io["sft_prompt_lengths"].tolist()):
        speech = io["speech_stage2"][row : row + 1]
        audio = AudioEmbeddings(speech, torch.tensor([speech.shape[1]]))
        predictor = condition(
            model,
            ids[row : row + 1, :length],
            audio=audio,
            audio_start=io["sft_audio_start"][row : row + 1],
        )
        picked = masks[:, row : row + 1, length:], ratios[:, row : row + 1]
        rows.append(estimate_elbo(predictor, ids[row : row + 1, length:], *picked))
    return torch.cat(rows)
