"""What UltraEval-Audio asks arrives at the server, and its answer is that of ``model.generate``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from running import NAME, Running

from dllm_audio import AudioDiffusionLM, toy
from dllm_audio.samplers import preset

FOLDER = Path(__file__).parents[2] / "examples" / "ultraeval"
CLIP = toy.clips()[0]


class StandInModel:
    """What ``audio_evals.models.model.APIModel`` gives to its subclasses."""

    def __init__(self, is_chat: bool, sample_params: dict[str, Any] | None = None) -> None:
        self.is_chat, self.sample_params = is_chat, sample_params or {}

    def inference(self, prompt: Any, **kwargs: Any) -> str:
        if isinstance(prompt, str) and self.is_chat:
            prompt = [{"role": "user", "contents": [{"type": "text", "value": prompt}]}]
        return self._inference(prompt, **{**self.sample_params, **kwargs})  # type: ignore


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The example's class, with UltraEval-Audio's base class or a stand-in of it."""
    if importlib.util.find_spec("audio_evals") is None:
        for name in ("audio_evals", "audio_evals.models", "audio_evals.models.model"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setattr(
            sys.modules["audio_evals.models.model"], "APIModel", StandInModel, raising=False
        )
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.delitem(sys.modules, "dllm_audio_served", raising=False)
    entry = yaml.safe_load((FOLDER / "registry/model/dllm_audio.yaml").read_text())["dllm-audio"]
    module, _, name = entry["class"].rpartition(".")
    found = getattr(importlib.import_module(module), name)

    def make(running: Running, **options: Any) -> Any:
        assert set(entry["args"]) == {"base_url"}
        host, port = running.address
        return found(**{**entry["args"], "base_url": f"http://{host}:{port}/v1"}, **options)

    return make


def asked(*contents: tuple[str, str]) -> list[dict[str, Any]]:
    """A prompt as UltraEval-Audio's templates make it."""
    blocks = [{"type": kind, "value": value} for kind, value in contents]
    return [{"role": "user", "contents": blocks}]


def test_a_recording_and_a_question_are_answered_as_by_generate(
    served: Any, running: Running, model: AudioDiffusionLM
) -> None:
    client = served(running)
    assert client.model_name == NAME
    for question in CLIP.questions[:2]:
        prompt = asked(("audio", str(CLIP.path)), ("text", question.prompt))
        (expected,) = model.generate(audio=[CLIP.path], prompts=[question.prompt]).texts
        assert client.inference(prompt) == expected


def test_a_text_alone_and_parameters_arrive(
    served: Any, running: Running, model: AudioDiffusionLM
) -> None:
    (expected,) = model.generate(prompts=["What is said?"]).texts
    assert served(running).inference("What is said?") == expected
    short = served(running, sample_params={"max_tokens": 1}, sampler="answers")
    prompt = asked(("audio", str(CLIP.path)), ("text", "What is said?"))
    sampler = preset("answers", gen_length=1, block_length=1)
    (first,) = model.generate(audio=[CLIP.path], prompts=["What is said?"], sampler=sampler).texts
    assert short.inference(prompt) == first


@pytest.mark.parametrize(
    ("content", "told"), [(("video", "a.mp4"), "video"), (("audio", "a.xyz"), "a.xyz")]
)
def test_what_the_server_cannot_hear_is_named(
    served: Any, running: Running, content: tuple[str, str], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        served(running).inference(asked(content))
