"""The adapters against the parity data, with the published tensor names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dllm_audio.adapters import (
    AcousticAdapter,
    DualAdapter,
    PromptedSemanticAdapter,
    SemanticAdapter,
)
from dllm_audio.checkpoints.keys import from_published
from dllm_audio.outputs import EncoderOutput
from parity import load_golden

LARGE_TAPS = (3, 7, 11, 15, 19, 23, 27, 31)


def _load(module: nn.Module, state: dict[str, Tensor], prefix: str = "") -> nn.Module:
    names = module.state_dict()
    module.load_state_dict({name: state[prefix + name] for name in names})
    return module.eval()


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    weights = load_golden("diffa_weights")
    return from_published({n: t for n, t in weights.items() if not n.startswith("whisper_model.")})


@pytest.fixture(scope="module")
def io() -> dict[str, Tensor]:
    return load_golden("diffa_io")


@pytest.fixture(scope="module")
def dual(state) -> DualAdapter:
    adapter = DualAdapter(SemanticAdapter(32, 64), AcousticAdapter(32, 64, (0, 1, 2, 3), 4))
    return _load(adapter, state)


def _output(io: dict[str, Tensor], lengths: Tensor) -> EncoderOutput:
    hidden = tuple(io[f"encoder_hidden.{i}"] for i in range(5))
    return EncoderOutput(io["encoder_last"][:, : int(lengths.max())], hidden, lengths)


def _close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_semantic(dual, io):
    _close(dual.semantic(io["encoder_last"]), io["semantic"])
    _close(dual.semantic(io["semantic_odd_in"]), io["semantic_odd"])


@torch.no_grad()
def test_acoustic(dual, io):
    _close(dual.acoustic([io[f"encoder_hidden.{i}"] for i in range(5)]), io["acoustic"])


@torch.no_grad()
def test_embeddings_of_each_stage(dual, state, io):
    # The original counts padding as audio: give both rows the full length.
    output = _output(io, torch.full((2,), io["encoder_last"].shape[1]))
    prompted = _load(PromptedSemanticAdapter(SemanticAdapter(32, 64)), state)
    stage1, stage2 = prompted(output), dual(output)
    _close(stage1.embeds, io["speech_stage1"])
    _close(stage2.embeds, io["speech_stage2"])
    assert stage1.lengths.tolist() == [45, 45]
    assert stage2.lengths.tolist() == [89, 89]


@torch.no_grad()
def test_valid_embeddings_with_the_true_lengths(dual, io):
    audio = dual(_output(io, io["encoder_lengths"]))
    assert audio.lengths.tolist() == (io["encoder_lengths"] // 4 + 64).tolist()
    for row, length in enumerate(audio.lengths.tolist()):
        _close(audio.embeds[row, :length], io["speech_stage2"][row, :length])


@torch.no_grad()
def test_large_taps():
    weights = load_golden("qformer_large_weights")
    io = load_golden("qformer_large_io")
    state = from_published({f"acoustic_connector.{n}": t for n, t in weights.items()})
    adapter = _load(AcousticAdapter(24, 64, LARGE_TAPS, 4), state, "acoustic.")
    _close(adapter([io[f"hidden.{i}"] for i in range(33)]), io["output"])


@torch.no_grad()
def test_one_batched_pass_equals_a_loop_over_the_layers(dual, io):
    """The Q-Former written out plainly: one layer, one item, one head at a time."""
    acoustic = dual.acoustic
    hidden = [io[f"encoder_hidden.{i}"].double() for i in range(5)]
    plain = acoustic.double()

    def attend(a: nn.Module, x: Tensor, memory: Tensor) -> Tensor:
        q, k, v = a.query(x), a.key(memory), a.value(memory)
        heads = []
        for h in range(4):
            cut = slice(8 * h, 8 * h + 8)
            heads.append(((q[:, cut] @ k[:, cut].T) / 8**0.5).softmax(-1) @ v[:, cut])
        return a.norm(x + a.output(torch.cat(heads, dim=-1)))

    for item in range(2):
        read = []
        for i, tap in enumerate((0, 1, 2, 3)):
            x = plain.queries[i]
            for layer in plain.layers:
                x = attend(layer.self_attention, x, x)
                x = attend(layer.cross_attention, x, hidden[tap][item])
                x = layer.norm(x + layer.down(F.gelu(layer.up(x))))
            read.append(x)
        mix = plain.layer_weights.softmax(-1)
        expected = plain.projection(
            plain.norm(sum(mix[:, i, None] * r for i, r in enumerate(read)))
        )
        _close(expected.float(), io["acoustic"][item])
        torch.testing.assert_close(plain(hidden)[item], expected, atol=1e-10, rtol=1e-10)
    acoustic.float()
