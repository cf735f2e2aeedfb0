"""The lmms-eval plugin against that package's interface: its own where it is installed."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import dllm_audio
from dllm_audio import toy
from dllm_audio.errors import AudioDecodeError, DataError, InvalidArgumentError
from dllm_audio.evaluation import lmms_plugin
from dllm_audio.evaluation.lmms_settings import read_settings
from dllm_audio.evaluation.predictors import ModelPredictor, Predictions
from dllm_audio.samplers import CachedParallelSampler, LowConfidenceSampler


@dataclass(frozen=True)
class StandInManifest:
    """Fields of ``lmms_eval.models.registry_v2.ModelManifest``."""

    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


class StandInBase:
    """What ``lmms_eval.api.model.lmms`` gives to its subclasses."""

    is_simple = True

    def __init__(self) -> None:
        self._rank, self._world_size, self.task_dict = 0, 1, {}

    @property
    def rank(self) -> int:
        return self._rank


@pytest.fixture(autouse=True)
def _lmms_eval(monkeypatch: pytest.MonkeyPatch) -> Any:
    if importlib.util.find_spec("lmms_eval") is None:
        for name in ("lmms_eval", "lmms_eval.api", "lmms_eval.models"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        model = SimpleNamespace(lmms=StandInBase)
        registry = SimpleNamespace(ModelManifest=StandInManifest)
        monkeypatch.setitem(sys.modules, "lmms_eval.api.model", model)
        monkeypatch.setitem(sys.modules, "lmms_eval.models.registry_v2", registry)
    lmms_plugin._adapter_class.cache_clear()
    yield
    lmms_plugin._adapter_class.cache_clear()


@dataclass(frozen=True)
class Echo:
    """A predictor that says what it was given."""

    sampler: Any = field(default_factory=lambda: LowConfidenceSampler(16, 16))
    batches: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    max_seconds = 1.0
    device = "cpu"

    def __call__(self, audio, prompts, seeds):
        self.batches.append(len(prompts))
        self.lengths.append(self.sampler.gen_length)
        heard = [[len(c) for c in a] if isinstance(a, list) else len(a) for a in audio]
        texts = [f"{p} {h}\n\nmore" for h, p in zip(heard, prompts, strict=True)]
        return Predictions(texts, [1] * len(texts), [1] * len(texts))


def request(doc_id: int, task: str = "t", **settings: Any) -> SimpleNamespace:
    return SimpleNamespace(
        args=(f"q{doc_id}", settings, lambda d: d["clips"], doc_id, task, "test")
    )


def documents(*lengths: int) -> dict[str, Any]:
    sounds = [{"array": np.zeros(n, np.float32), "sampling_rate": 16000} for n in lengths]
    return {"t": {"test": [{"clips": [sound]} for sound in sounds]}}


def test_the_registry_finds_the_class_by_the_manifest() -> None:
    manifest = lmms_plugin.manifests()
    assert manifest.model_id == "dllm_audio"
    module, _, name = manifest.simple_class_path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    base = importlib.import_module("lmms_eval.api.model").lmms
    assert issubclass(found, base)
    assert found.is_simple is True
    assert not getattr(found, "__abstractmethods__", None)
    with pytest.raises(AttributeError, match="Nothing"):
        _ = lmms_plugin.Nothing


def test_the_package_registers_the_entry_point() -> None:
    points = entry_points(group="lmms_eval.models", name="dllm_audio")
    if not points:
        pytest.skip("installed before the entry point was added; install the package again")
    assert next(iter(points)).load() is lmms_plugin.manifests


def test_requests_are_answered_in_order_in_batches_and_cut() -> None:
    echo, docs = Echo(), documents(100, 20000, 300)
    requests = [request(2), request(0, until="\n\n"), request(1, until=["x", "\n\n"])]
    answers = lmms_plugin.answer_requests(requests, docs, echo, batch_size=2, progress=False)
    assert answers == ["q2 300\n\nmore", "q0 100", "q1 16000"]
    assert echo.batches == [2, 1]


def test_a_model_answers_through_the_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmms_plugin, "_load", lambda pretrained, device, dtype: Echo())
    model = lmms_plugin.DllmAudio(pretrained="somewhere", batch_size="2")
    model.task_dict = documents(50)
    assert model.generate_until([request(0, until="\n\n")]) == ["q0 50"]
    for method in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(InvalidArgumentError, match="generate_until"):
            method([])


def test_a_saved_model_is_loaded_and_answers() -> None:
    folder = Path(dllm_audio.__file__).parent / "assets" / "tiny"
    model = lmms_plugin.DllmAudio(pretrained=str(folder), device="cpu")
    model.task_dict = documents(16000)
    assert isinstance(model.generate_until([request(0)])[0], str)


def test_requests_without_a_clip_are_named() -> None:
    with pytest.raises(DataError, match="t, document 0: expected at least one clip, got none"):
        lmms_plugin.answer_requests(
            [request(0)], {"t": {"test": [{"clips": []}]}}, Echo(), progress=False
        )


def test_audio_comes_in_every_form_that_tasks_use(tmp_path) -> None:
    decoder = SimpleNamespace(
        get_all_samples=lambda: SimpleNamespace(data=torch.zeros(2, 800), sample_rate=8000)
    )
    assert lmms_plugin.read_visual(decoder).shape == (1600,)
    with pytest.raises(AudioDecodeError):
        lmms_plugin.read_visual({"path": str(tmp_path / "missing.wav")})
    with pytest.raises(DataError, match="expected samples, bytes or a path"):
        lmms_plugin.read_visual({"array": None})


def test_a_question_may_be_about_several_clips() -> None:
    docs = documents(100, 20000)
    docs["t"]["test"].append({"clips": [d["clips"][0] for d in docs["t"]["test"]]})
    asked = [request(n, until="\n") for n in range(3)]
    found = lmms_plugin.answer_requests(asked, docs, Echo(), batch_size=3, progress=False)
    assert found == ["q0 100", "q1 16000", "q2 [100, 16000]"]


def test_several_clips_stand_in_front_of_the_question_in_their_order() -> None:
    model = toy.small_model()
    first, second = (clip.path for clip in toy.clips()[:2])
    clips = [dllm_audio.load_audio(path)[:24000] for path in (first, second)]
    blocks = [{"type": "audio", "audio": clip} for clip in clips]
    turn = {"role": "user", "content": [*blocks, {"type": "text", "text": "What is said?"}]}
    expected = model.generate(messages=[[turn]]).texts
    predictor = ModelPredictor(model)
    assert predictor([clips], ["What is said?"], [0]).texts == expected
    mixed = predictor([clips[0], clips], ["What is said?"] * 2, [0, 1]).texts
    assert mixed == [*predictor(clips[:1], ["What is said?"], [0]).texts, *expected]


def test_requests_that_are_decoded_alike_are_answered_together() -> None:
    echo, lengths = Echo(), [4, 128, None, 4]
    asked = [
        request(n, **({} if most is None else {"max_new_tokens": most}))
        for n, most in enumerate(lengths)
    ]
    found = lmms_plugin.answer_requests(
        asked, documents(10, 20, 30, 40), echo, batch_size=4, progress=False
    )
    assert [text.split()[0] for text in found] == ["q0", "q1", "q2", "q3"]
    assert (echo.batches, echo.lengths) == ([2, 2], [4, 16])


def test_settings_bound_the_answer_and_heat_the_sampler() -> None:
    own = CachedParallelSampler(16, 8)
    assert read_settings({"max_new_tokens": 128, "do_sample": False}, own).sampler is own
    short = read_settings({"max_gen_toks": 4}, own).sampler
    assert short.to_dict() == {**own.to_dict(), "gen_length": 4, "block_length": 4}
    assert read_settings({"temperature": 0.7}, own).sampler.options.temperature == 0.7
    cold = read_settings({"temperature": 0.7, "do_sample": False, "top_p": 0.9}, own)
    assert cold.sampler is own
    neutral = {"temperature": 0, "top_p": None, "num_beams": 1, "repetition_penalty": 1.0}
    assert read_settings(neutral, own).sampler is own
    assert read_settings({"until": ["\n", ""]}, own).cut(" a\nb") == "a"


@pytest.mark.parametrize(
    "settings",
    [
        {"max_new_tokens": 0},
        {"max_new_tokens": True},
        {"temperature": "hot"},
        {"temperature": -1},
        {"num_beams": 4},
        {"repetition_penalty": 1.2},
        {"temperature": 1.0, "top_p": 0.9},
        {"temperature": 1.0, "top_k": 5},
    ],
)
def test_settings_that_cannot_be_obeyed_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=list(settings)[-1]):
        read_settings(settings, CachedParallelSampler(16, 8))


def test_settings_that_nobody_knows_are_told_once() -> None:
    own, name = CachedParallelSampler(16, 8), "image_aspect_ratio_of_this_test"
    with pytest.warns(UserWarning, match=name):
        read_settings({name: "original"}, own)
    read_settings({name: "original"}, own)  # a second warning would be an error
