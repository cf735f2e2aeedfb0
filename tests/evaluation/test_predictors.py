"""What a model is asked for, and which part of its response counts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dllm_audio.errors import InvalidArgumentError
from dllm_audio.evaluation.predictors import ModelPredictor


class Model:
    """Answers with token 1, an end, and what was committed behind it."""

    encoder = SimpleNamespace(window_seconds=30.0)
    tokenizer = SimpleNamespace(
        decode=lambda row, skip_special_tokens: " ".join(
            "ABC"[token] for token in row if token < 3 or not skip_special_tokens
        )
    )

    def generate(self, **inputs):
        rows = len(inputs["prompts"])
        output = SimpleNamespace(
            tokens=torch.tensor([[1, 9, 2]] * rows),
            lengths=torch.tensor([1] * rows),
            row_nfe=torch.tensor([4] * rows),
        )
        return SimpleNamespace(texts=["B"] * rows, output=output)


def test_the_text_is_the_answer_or_the_whole_response() -> None:
    asked = ([torch.zeros(9)] * 2, ["?", "?"], [0, 1])
    answer, whole = ModelPredictor(Model()), ModelPredictor(Model(), text="whole")
    assert answer(*asked).texts == ["B", "B"]
    assert whole(*asked).texts == ["B C", "B C"]
    assert answer(*asked).tokens == whole(*asked).tokens == [1, 1]
    assert answer.description == {}
    assert whole.description == {"text": "whole"}
    with pytest.raises(InvalidArgumentError, match="text"):
        ModelPredictor(Model(), text="all")
