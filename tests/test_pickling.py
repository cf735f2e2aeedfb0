"""Every part can be copied and pickled, before it has been used and after."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dllm_audio import AudioDiffusionLM, samplers
from part_examples import EXAMPLES, exported_parts
from small_parts import character_tokenizer, small_model


def through_pickle(part: Any) -> Any:
    return pickle.loads(pickle.dumps(part))


def through_torch_save(part: Any) -> Any:
    file = io.BytesIO()
    torch.save(part, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def plain(value: Any) -> Any:
    """What two results are compared by: tensors to the bit."""
    if isinstance(value, torch.Tensor):
        value = value.numpy()
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if is_dataclass(value):
        return [plain(getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def test_there_is_an_example_of_every_part() -> None:
    assert {type(make().part) for make in EXAMPLES.values()} == exported_parts()


@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle, through_torch_save])
@pytest.mark.parametrize("name", EXAMPLES)
def test_copies_of_a_part_do_what_it_does(name: str, copied: Callable[[Any], Any]) -> None:
    part, use = EXAMPLES[name]()
    before = copied(part)
    expected = plain(use(part))
    after = copied(part)
    for twin in (before, after, copied(after)):
        assert type(twin) is type(part)
        assert plain(use(twin)) == expected
        if isinstance(part, torch.nn.Module):
            theirs = twin.state_dict()
            assert all(torch.equal(theirs[key], value) for key, value in part.state_dict().items())
            assert [m.training for m in twin.modules()] == [m.training for m in part.modules()]
    assert plain(use(part)) == expected


def test_a_sampler_that_was_pickled_is_saved_with_its_model(tmp_path: Path) -> None:
    """Python notes in the classes of what it pickles how that is done."""
    model = small_model(character_tokenizer())
    pickle.dumps((model.default_sampler(), samplers.Sampler(4, 4, samplers.Threshold(0.5))))
    model.save_pretrained(tmp_path / "model")
    found = AudioDiffusionLM.from_pretrained(tmp_path / "model").default_sampler()
    assert found == model.default_sampler()
