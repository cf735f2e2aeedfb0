"""A whole model can be copied and pickled, before it has answered and after."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable

import pytest
import torch

from dllm_audio import AudioDiffusionLM
from dllm_audio.backbones import pack_weights
from small_parts import character_tokenizer, small_model

Copy = Callable[[AudioDiffusionLM], AudioDiffusionLM]


def through_pickle(model: AudioDiffusionLM) -> AudioDiffusionLM:
    found: AudioDiffusionLM = pickle.loads(pickle.dumps(model))
    return found


def through_torch_save(model: AudioDiffusionLM) -> AudioDiffusionLM:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    found: AudioDiffusionLM = torch.load(file, weights_only=False)
    return found


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle, through_torch_save])
def test_a_model_can_be_copied_whether_it_has_answered_or_not(copied: Copy, packed: bool) -> None:
    audio = [torch.sin(torch.arange(5000) * 0.2)]
    model = small_model(character_tokenizer())
    if packed:
        pack_weights(model)
    before = copied(model)
    expected = model.generate(audio=audio, prompts=["What?"])
    after = copied(model)
    again = copied(after)
    for found in (before, after, again):
        assert found is not model
        answer = found.generate(audio=audio, prompts=["What?"])
        assert torch.equal(answer.output.tokens, expected.output.tokens)
        assert answer.texts == expected.texts
        assert found.training == model.training
        theirs = found.state_dict()
        assert all(torch.equal(theirs[name], t) for name, t in model.state_dict().items())
