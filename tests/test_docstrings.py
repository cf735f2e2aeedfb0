"""The examples in docstrings print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest
import torch

import dllm_audio

PACKAGE = Path(dllm_audio.__file__).parent
MODULES = sorted(
    ".".join(("dllm_audio", *file.relative_to(PACKAGE).with_suffix("").parts))
    for file in PACKAGE.rglob("*.py")
    if ">>>" in file.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    if name == "dllm_audio.demo.page":
        pytest.importorskip("gradio")
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0 or "+SKIP" in Path(str(module.__file__)).read_text(encoding="utf-8")
    assert result.failed == 0
