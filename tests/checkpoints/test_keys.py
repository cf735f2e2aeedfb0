"""Names of the adapters' tensors, there and back."""

from __future__ import annotations

import pytest
import torch

from dllm_audio.adapters import (
    AcousticAdapter,
    DualAdapter,
    PromptedSemanticAdapter,
    SemanticAdapter,
)
from dllm_audio.checkpoints import from_published, to_published
from dllm_audio.errors import CheckpointError
from parity import load_golden


def published() -> dict[str, torch.Tensor]:
    return {n: t for n, t in load_golden("diffa_weights").items() if "whisper" not in n}


def test_every_published_name_becomes_one_of_ours():
    dual = DualAdapter(SemanticAdapter(32, 64), AcousticAdapter(32, 64, range(4), 4))
    prompted = PromptedSemanticAdapter(SemanticAdapter(32, 64))
    own = from_published(published())
    expected = {**dual.state_dict(), **prompted.state_dict()}
    assert {n: t.shape for n, t in own.items()} == {n: t.shape for n, t in expected.items()}


def test_there_and_back_is_bit_equal():
    tensors = published()
    back = to_published(from_published(tensors))
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


def test_no_two_names_become_one():
    own = from_published(published())
    assert len(own) == len(published()) - 3  # four tapped layers' queries are stacked


def test_ten_and_more_layers_keep_their_order():
    queries = {
        f"acoustic_connector.layer_prompts.{i}": torch.full((1, 2, 3), float(i)) for i in range(12)
    }
    stacked = from_published(queries)["acoustic.queries"]
    assert stacked[:, 0, 0].tolist() == [float(i) for i in range(12)]


@pytest.mark.parametrize(
    "name",
    [
        "semantic_connector.conv.1.weight",
        "semantic_connector.conv.0.weight.more",
        "xsemantic_connector.conv.0.weight",
        "acoustic_connector.qformer.layer.x.output.dense.weight",
        "acoustic_connector.qformer.layer.01.output.dense.weight",
        "acoustic_connector.qformer.layer.#.output.dense.weight",
        "acoustic_connector.qformer.layer.0.attention.self.query.scale",
        "trainable_prompts.bias",
        "semantic.conv.weight",
    ],
)
def test_unknown_names_are_named(name):
    with pytest.raises(CheckpointError, match="belong to no adapter"):
        from_published({name: torch.ones(1)})


def test_unknown_own_names_are_named():
    with pytest.raises(CheckpointError, match=r"acoustic\.extra"):
        to_published({"acoustic.extra": torch.ones(1)})
