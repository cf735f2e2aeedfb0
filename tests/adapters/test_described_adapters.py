"""Adapters as parts: described, built again, whole on their own, made of anybody's parts."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dllm_audio import (
    AcousticAdapter,
    AudioEmbeddings,
    DualAdapter,
    EncoderOutput,
    PromptedSemanticAdapter,
    SemanticAdapter,
    register,
)
from dllm_audio.errors import CheckpointError, InvalidArgumentError
from dllm_audio.parts import build, describe

E, D, WINDOW = 8, 12, 24


@register("adapter", "test-halves")
class Halves(nn.Module):
    """Somebody's adapter: an embedding for every second frame, of as many as a row has."""

    def __init__(self, encoder_dim: int, lm_dim: int) -> None:
        super().__init__()
        self.encoder_dim, self.lm_dim = encoder_dim, lm_dim
        self.project = nn.Linear(encoder_dim, lm_dim)

    def to_config(self) -> dict[str, int]:
        return {"encoder_dim": self.encoder_dim, "lm_dim": self.lm_dim}

    def forward(self, output: EncoderOutput) -> AudioEmbeddings:
        frames = output.last_hidden_state
        return AudioEmbeddings(self.project(frames[:, : frames.shape[1] // 2]), output.lengths // 2)


def semantic() -> SemanticAdapter:
    return SemanticAdapter(E, D, stride=3)


def acoustic() -> AcousticAdapter:
    return AcousticAdapter(E, D, (0, 2), 2, num_queries=3, intermediate_size=16, dropout=0.2)


MAKERS = {
    "semantic": semantic,
    "acoustic": acoustic,
    "dual": lambda: DualAdapter(semantic(), acoustic(), mask_frames=True),
    "prompted": lambda: PromptedSemanticAdapter(semantic(), 4),
    "dual of others": lambda: DualAdapter(semantic(), Halves(E, D)),
    "prompted halves": lambda: PromptedSemanticAdapter(Halves(E, D), 2),
    "dual of duals": lambda: DualAdapter(
        PromptedSemanticAdapter(semantic(), 2), DualAdapter(Halves(E, D), acoustic())
    ),
}
adapters = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def output(lengths: list[int], hidden: bool = False) -> EncoderOutput:
    generator = torch.Generator().manual_seed(0)
    states = tuple(torch.randn(len(lengths), WINDOW, E, generator=generator) for _ in range(3))
    counted = torch.tensor(lengths)
    last = states[-1][:, : max(lengths)]
    return EncoderOutput(last, states, counted, counted if hidden else None)


def alone(batch: EncoderOutput, row: int) -> EncoderOutput:
    length = int(batch.lengths[row])
    one = slice(row, row + 1)
    cut = length if batch.hidden_lengths is not None else WINDOW
    return EncoderOutput(
        batch.last_hidden_state[one, :length],
        tuple(state[one, :cut] for state in batch.hidden_states),
        batch.lengths[one],
        None if batch.hidden_lengths is None else batch.hidden_lengths[one],
    )


@adapters
@torch.no_grad()
def test_a_description_builds_an_equal_adapter(make: Any) -> None:
    torch.manual_seed(1)
    adapter = make().eval()
    description = json.loads(json.dumps(describe("adapter", adapter)))
    again = build("adapter", description).eval()
    again.load_state_dict(adapter.state_dict())
    assert describe("adapter", again) == description
    expected, got = adapter(output([20, 9])), again(output([20, 9]))
    assert torch.equal(expected.embeds, got.embeds)
    assert torch.equal(expected.lengths, got.lengths)


@adapters
@pytest.mark.parametrize("hidden", [False, True])
@torch.no_grad()
def test_each_is_whole_and_a_row_does_not_depend_on_its_batch(make: Any, hidden: bool) -> None:
    adapter, batch = make().eval(), output([20, 24, 1, 9], hidden)
    together = adapter(batch)
    assert isinstance(together, AudioEmbeddings)
    for row, length in enumerate(together.lengths.tolist()):
        single = adapter(alone(batch, row))
        assert int(single.lengths) == length
        torch.testing.assert_close(
            together.embeds[row, :length], single.embeds[0, :length], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("name", ["semantic", "acoustic", "dual", "prompted"])
def test_positions_are_those_that_come(name: str) -> None:
    adapter = MAKERS[name]()
    for length in (1, 8, 24):
        assert adapter.positions(length) == int(adapter(output([length])).lengths)


def test_taps_are_those_of_the_parts() -> None:
    taps = {name: make().taps for name, make in MAKERS.items()}
    assert taps["semantic"] == taps["prompted"] == ()
    assert taps["acoustic"] == taps["dual"] == (0, 2)
    assert taps["dual of others"] is None  # Halves does not say


def test_embeddings_of_the_second_follow_right_behind_those_of_the_first() -> None:
    class Given(nn.Module):
        lm_dim = 1

        def __init__(self, value: float, lengths: list[int]) -> None:
            super().__init__()
            self.value, self.lengths = value, torch.tensor(lengths)

        def forward(self, _: Any) -> AudioEmbeddings:
            embeds: Tensor = torch.zeros(2, 3, 1)
            for row, length in enumerate(self.lengths.tolist()):
                embeds[row, :length] = self.value
            return AudioEmbeddings(embeds, self.lengths)

    joined = DualAdapter(Given(2, [3, 1]), Given(1, [1, 2]))(output([9, 9]))
    assert joined.lengths.tolist() == [4, 3]
    assert joined.embeds[0, :4, 0].tolist() == [1, 2, 2, 2]
    assert joined.embeds[1, :3, 0].tolist() == [1, 1, 2]


def test_what_is_not_registered_is_refused_inside_too() -> None:
    class Mine(SemanticAdapter):
        pass

    with pytest.raises(InvalidArgumentError, match=r"@register\('adapter', 'mine'\)"):
        describe("adapter", DualAdapter(Mine(E, D), acoustic()))
    with pytest.raises(InvalidArgumentError, match="semantic: expected an adapter with an lm_dim"):
        DualAdapter(nn.Linear(2, 2), acoustic())


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("semantic", {"stride": 2**25}), ("semantic", {"lm_dim": "many"}),
        ("semantic", {"stride": True}), ("semantic", {"no": 1}), ("acoustic", {"dropout": 5}),
        ("acoustic", {"num_layers": 2**11}), ("acoustic", {"taps": [0, 2**30]}),
        ("acoustic", {"taps": 3}), ("acoustic", {"taps": "02"}), ("acoustic", {"taps": [[1]]}),
        ("acoustic", {"intermediate_size": 10**30}), ("dual", {"mask_frames": "yes"}),
        ("dual", {"semantic": None}), ("dual", {"acoustic": {"name": "os.system"}}),
        ("prompted", {"num_prompts": -1}), ("prompted", {"num_prompts": 1.5}),
    ],
)  # fmt: skip
def test_hostile_settings_are_refused(name: str, changes: dict[str, Any]) -> None:
    description = describe("adapter", MAKERS[name]())
    description["settings"].update(changes)
    with torch.device("meta"), pytest.raises(CheckpointError):
        build("adapter", description)
    for key in ("semantic", "lm_dim"):
        description = describe("adapter", MAKERS[name]())
        if description["settings"].pop(key, None) is not None:
            with pytest.raises(CheckpointError):
                build("adapter", description)
