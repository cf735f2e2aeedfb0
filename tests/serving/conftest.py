"""One server of the model that ships, for tests that leave no trace in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("fastapi")

from running import Running, serving

from dllm_audio import AudioDiffusionLM, toy


@pytest.fixture(scope="session")
def model() -> AudioDiffusionLM:
    return toy.small_model()


@pytest.fixture(scope="session")
def running(model: AudioDiffusionLM) -> Iterator[Running]:
    with serving(model, max_batch=4, max_audio_seconds=20.0, max_request_mb=2.0) as found:
        yield found
