"""The lmms-eval plugin against that package's interface: its own where it is installed."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import dllm_audio
from dllm_audio.errors import AudioDecodeError, DataError, InvalidArgumentError
from dllm_audio.evaluation import lmms_plugin
from dllm_audio.evaluation.predictors import Predictions


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


class Echo:
    """A predictor that says what it was given."""

    max_seconds = 1.0
    device = "cpu"

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, audio, prompts, seeds):
        self.batches.append(len(prompts))
        texts = [f"{p} {len(a)}\n\nmore" for a, p in zip(audio, prompts, strict=True)]
        return Predictions(texts, [1] * len(texts), [1] * len(texts))


def request(doc_id: int, until: Any = None, task: str = "t") -> SimpleNamespace:
    settings = {} if until is None else {"until": until}
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


def test_requests_without_exactly_one_clip_are_named() -> None:
    with pytest.raises(DataError, match="t, document 0: expected one clip, got 0"):
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
