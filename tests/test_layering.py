"""The imports of every module, read from its syntax tree, respect the layers."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import dllm_audio

PACKAGE = Path(dllm_audio.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

BASE = {
    *("errors", "outputs", "protocols", "parts", "modes", "files", "weights"),
    *("tokenizer", "transformers_config"),
}
PARTS = {"audio", "encoders", "adapters", "prompts", "backbones", "diffusion", "samplers"}
# The whole model: one layer in files of one idea each.
MODEL = {"model", "asking", "modes", "model_config", "model_files", "model_card", "processor"}
# Layer -> the other layers that it may import, besides the base.
ALLOWED: dict[str, set[str]] = {
    **{name: set() for name in BASE},
    **{name: set() for name in ("audio", "adapters", "prompts", "backbones")},
    "encoders": {"audio"},
    "diffusion": set(),
    "losses": {"diffusion"},
    "samplers": {"diffusion"},
    **dict.fromkeys(MODEL, PARTS | MODEL),
    "checkpoints": {*PARTS, *MODEL},
    "data": {"audio", "prompts", "diffusion"},
    "toy": {*PARTS, *MODEL},
    "priors": {*PARTS, *MODEL, "losses"},
    "training": {*PARTS, *MODEL, "losses", "checkpoints", "data"},
    "evaluation": {*PARTS, *MODEL, "losses", "checkpoints", "data", "toy"},
    "serving": {*PARTS, *MODEL, "losses", "checkpoints", "data", "toy"},
    "demo": {*PARTS, *MODEL, "losses", "checkpoints", "data", "toy", "evaluation", "serving"},
    "cli": {
        *(PARTS | MODEL),
        *("losses", "checkpoints", "data", "toy", "priors", "training", "evaluation", "serving"),
        "demo",
    },
    "auto": {*PARTS, *MODEL},
    "__init__": set(),
    "__main__": {"cli"},
}
# What the base may import from outside the standard library.
BASE_EXTERNAL = {
    **{name: {"torch"} for name in ("errors", "outputs", "protocols", "parts", "modes", "files")},
    "weights": {"torch", "safetensors", "huggingface_hub", "tqdm"},
    "tokenizer": {"transformers", "tokenizers"},
    "transformers_config": {"transformers", "huggingface_hub"},
}
# Packages that a machine may lack: imported only inside the functions that use them.
DEFERRED = {
    *("whisper", "soundfile", "soxr"),
    *("accelerate", "peft", "datasets", "tensorboard", "jiwer", "matplotlib"),
    *("torchao", "lmms_eval"),
    *("fastapi", "starlette", "uvicorn", "python_multipart", "gradio"),
}


# A layer that is of no use without an extra imports it as usual.
EXTRAS = {
    "training": {"accelerate"},
    "serving": {"fastapi", "starlette", "uvicorn", "python_multipart"},
    "demo": {"fastapi", "starlette", "uvicorn", "gradio"},
}


class Import(NamedTuple):
    target: str  # dotted name from the package's root for our own modules, else the package
    own: bool
    line: int
    module_level: bool  # runs when the module is imported
    typing_only: bool


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def _targets(node: ast.Import | ast.ImportFrom, module: tuple[str, ...]) -> list[tuple[str, bool]]:
    """What an import statement in ``module`` (path without suffix) refers to."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif node.level == 0:
        base = node.module or ""
        names = [base] if base != "dllm_audio" else [f"{base}.{a.name}" for a in node.names]
    else:
        here = ("dllm_audio", *module)
        base = ".".join(here[: len(here) - node.level])
        base = f"{base}.{node.module}" if node.module else base
        # ``from . import x`` and ``from .. import x`` name submodules (or the root's names).
        names = [base] if node.module else [f"{base}.{a.name}" for a in node.names]
    targets = []
    for name in names:
        head, _, rest = name.partition(".")
        if head != "dllm_audio":
            targets.append((head, False))
            continue
        first = rest.partition(".")[0]
        if first == "__version__":  # a string that any layer may print
            continue
        # A public name imported from the root belongs to the layer that defines it.
        targets.append((dllm_audio._EXPORTS.get(first, rest) if first else "__init__", True))
    return targets


def imports_of(source: str, module: tuple[str, ...]) -> list[Import]:
    found: list[Import] = []

    def walk(node: ast.AST, module_level: bool, typing_only: bool) -> None:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.extend(
                Import(target, own, node.lineno, module_level, typing_only)
                for target, own in _targets(node, module)
            )
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            module_level = False
        for child in ast.iter_child_nodes(node):
            walk(child, module_level, typing_only or _is_type_checking(node))

    walk(ast.parse(source), True, False)
    return found


def violations(source: str, module: tuple[str, ...]) -> list[str]:
    layer = module[0]
    problems = []
    for item in imports_of(source, module):
        target = item.target.partition(".")[0]
        where = f"{'/'.join(module)}.py:{item.line}"
        if item.own:
            allowed = {layer, *BASE, *ALLOWED[layer]}
            if target not in allowed:
                problems.append(f"{where}: {layer} must not import {target}")
        elif item.typing_only or target == "__future__":
            continue
        elif layer in BASE_EXTERNAL and not _is_standard(target):
            if target not in BASE_EXTERNAL[layer]:
                problems.append(f"{where}: the base file {layer} must not import {target}")
        elif target in DEFERRED - EXTRAS.get(layer, set()) and item.module_level:
            problems.append(f"{where}: {target} is imported inside the function that needs it")
    return problems


def _is_standard(package: str) -> bool:
    return package in sys.stdlib_module_names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_respect_the_layers(path: Path) -> None:
    module = path.relative_to(PACKAGE).with_suffix("").parts
    if module == ("__init__",):  # names every layer on purpose; test_lazy_import.py covers it
        return
    assert violations(path.read_text(encoding="utf-8"), module) == []


def test_every_folder_and_file_has_a_layer() -> None:
    layers = {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in FILES}
    assert layers <= set(ALLOWED)


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from ..losses import x", ("samplers", "loop")),
        ("from ..losses.elbo import x", ("samplers", "__init__")),
        ("from .. import losses", ("samplers", "loop")),
        ("import dllm_audio.losses", ("samplers", "loop")),
        ("from dllm_audio import estimate_elbo", ("samplers", "loop")),
        ("def f():\n    from ...losses import x", ("samplers", "rules", "factor")),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..model import x",
            ("audio", "a"),
        ),
        ("from .samplers import x", ("protocols",)),
        ("import numpy", ("outputs",)),
        ("import soundfile as sf", ("audio", "load")),
        ("class A:\n    import whisper", ("encoders", "whisper")),
        ("from ..training import x", ("evaluation", "run")),
        ("from .checkpoints import x", ("model_files",)),
        ("def f():\n    from .checkpoints import x", ("model",)),
        ("from ..toy import x", ("training", "run")),
        ("from ..evaluation import x", ("training", "run")),
        ("from ..evaluation import x", ("serving", "app")),
        ("from ..training import x", ("serving", "app")),
        ("from ..serving import x", ("evaluation", "run")),
        ("import fastapi", ("cli", "serve")),
        ("import gradio", ("cli", "demo")),
        ("from ..demo import x", ("serving", "app")),
    ],
)
def test_a_forbidden_import_is_found(source: str, module: tuple[str, ...]) -> None:
    assert violations(source, module) != []


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from ..diffusion import x\nfrom .rules import y\nfrom . import z", ("samplers", "loop")),
        ("from .rules.factor import y\nfrom ..errors import z", ("samplers", "__init__")),
        ("def f():\n    import soundfile", ("audio", "load")),
        ("from ..outputs import x\nimport torch, math", ("audio", "load")),
        ("import torch, enum\nfrom .outputs import x", ("protocols",)),
        ("from dllm_audio.errors import x", ("audio", "load")),
    ],
)
def test_an_allowed_import_passes(source: str, module: tuple[str, ...]) -> None:
    assert violations(source, module) == []
