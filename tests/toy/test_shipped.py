"""The clips and the model that ship with the package."""

from __future__ import annotations

import subprocess
import sys

import torch

from dllm_audio import toy


def test_every_clip_has_sound_and_questions() -> None:
    clips = toy.clips()
    assert len({clip.name for clip in clips}) == len(clips) == 12
    for clip in clips:
        assert clip.path.is_file()
        assert clip.waveform.dtype == torch.float32
        assert 0 < len(clip.waveform) <= toy.MAX_SECONDS * 16000
        assert clip.waveform is clip.waveform  # read once
        assert clip.questions
        for question in clip.questions:
            assert question.prompt
            assert question.answer
            assert question.kind in ("semantic", "acoustic", "mixed")


def test_the_small_model_answers_and_each_call_gives_a_new_one() -> None:
    model, clip = toy.small_model(), toy.clips()[0]
    assert not model.training
    assert sum(p.numel() for p in model.parameters()) < 40_000_000
    question = clip.questions[0]
    for audio in (clip.path, clip.waveform):
        assert model.generate(prompts=question.prompt, audio=audio).texts == [question.answer]
    other = toy.small_model(dtype=torch.float64)
    assert next(other.parameters()).dtype == torch.float64
    assert next(model.parameters()).dtype == torch.float32


def test_clips_do_without_transformers() -> None:
    code = (
        "import sys\nfrom dllm_audio import toy\nassert toy.clips()[0].questions\n"
        "assert 'transformers' not in sys.modules, 'transformers'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
