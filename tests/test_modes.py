"""Dropout is off while a model answers, whoever else uses it at the same time."""

from __future__ import annotations

import threading

from torch import nn

from dllm_audio import CachedParallelSampler, SamplerOutput
from dllm_audio.modes import evaluating
from dllm_audio.protocols import MaskPredictor
from small_parts import character_tokenizer, small_model


def test_a_block_that_ends_leaves_the_others_in_evaluation_mode() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5).eval())
    other = nn.Sequential(model[0])  # shares a module
    first, second, third = evaluating(model), evaluating(model), evaluating(other)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    third.__enter__()
    assert not model[0].training
    second.__exit__(None, None, None)
    assert not model[0].training
    assert model.training
    third.__exit__(None, None, None)
    assert [model.training, model[0].training, model[1].training] == [True, True, False]


def test_an_error_gives_the_modes_back() -> None:
    model = nn.Dropout(0.5)
    try:
        with evaluating(model):
            raise KeyError
    except KeyError:
        assert model.training


def test_threads_on_one_model_in_training_mode_answer_without_dropout() -> None:
    """One thread ends while the other is in the middle of its answer."""
    model = small_model(character_tokenizer())
    model.train()
    before = [module.training for module in model.modules()]
    both, ended = threading.Barrier(2), threading.Event()
    sampler = CachedParallelSampler(4, 4)
    modes: list[bool] = []

    def short(predictor: MaskPredictor) -> SamplerOutput:
        both.wait()
        return sampler(predictor)

    def long(predictor: MaskPredictor) -> SamplerOutput:
        both.wait()
        ended.wait()
        modes.extend(module.training for module in model.modules())
        return sampler(predictor)

    def answer() -> None:
        model.generate(prompts="Hi", sampler=short)
        ended.set()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    model.generate(prompts="Hi", sampler=long)
    thread.join()
    assert modes
    assert not any(modes)
    assert any(before)
    assert [module.training for module in model.modules()] == before
