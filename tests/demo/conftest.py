"""A page that is served in a thread of this process, for browsers."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dllm_audio import toy

# Gradio leaves event loops of its own open.
LEFT_OPEN = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(LEFT_OPEN)


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    yield
    gc.collect()  # while the warnings about it are no errors


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("gradio")
    from dllm_audio.demo.page import build_page
    from dllm_audio.demo.server import DemoServer
    from dllm_audio.demo.settings import DemoSettings

    patch = pytest.MonkeyPatch()
    patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("clips")))
    settings = DemoSettings(max_file_mb=2.0, pace=0.1)
    page = build_page(toy.small_model(), settings=settings)
    server = DemoServer(page, settings, "127.0.0.1", 0)
    listening = threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(listening.set,))
    thread.start()
    while not listening.is_set():
        assert thread.is_alive()
        time.sleep(0.1)
    yield server
    server.should_exit = True
    thread.join()
    patch.undo()
    gc.collect()
