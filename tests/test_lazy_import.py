"""``import dllm_audio`` is light, public names resolve, and type checkers see the same names."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import dllm_audio

HEAVY = ("torch", "transformers", "whisper", "soundfile", "soxr", "huggingface_hub")


def loaded_after(statement: str) -> set[str]:
    """Names of ``sys.modules`` in a fresh interpreter that ran ``statement``."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_importing_the_package_loads_nothing_heavy() -> None:
    modules = loaded_after("import dllm_audio; dir(dllm_audio); dllm_audio.__version__")
    assert "dllm_audio" in modules
    assert modules.isdisjoint(HEAVY)


def test_decoding_and_adapters_need_no_audio_package() -> None:
    statement = (
        "from dllm_audio import condition, DualAdapter, LogMel, mask_tokens, "
        "CachedParallelSampler, MaskedDiffusionLoss, estimate_elbo, VRPOLoss"
    )
    modules = loaded_after(statement)
    assert modules.isdisjoint({"transformers", "whisper", "soundfile", "soxr"})
    modules = loaded_after("from dllm_audio import LLaDA, LLaDAConfig")  # models of transformers
    assert modules.isdisjoint({"whisper", "soundfile", "soxr"})


@pytest.mark.parametrize("name", sorted(dllm_audio._EXPORTS))
def test_every_public_name_resolves(name: str) -> None:
    value = getattr(dllm_audio, name)
    assert value is getattr(
        importlib.import_module(f"dllm_audio.{dllm_audio._EXPORTS[name]}"), name
    )
    assert name in dir(dllm_audio)
    assert name in dllm_audio.__all__
    assert value.__doc__, f"{name} has no docstring"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'LowConfidenceSamplr'"):
        dllm_audio.LowConfidenceSamplr  # noqa: B018


def test_type_checkers_see_exactly_the_public_names() -> None:
    tree = ast.parse(Path(dllm_audio.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.asname or alias.name: statement.module
        for block in tree.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert seen == dllm_audio._EXPORTS
