"""No private member of a dependency is read, called, imported or overridden."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest
import torch

import dllm_audio

PACKAGE = Path(dllm_audio.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
_PRIVATE = re.compile(r"_[A-Za-z]\w*")
# The one exception: no public door leads to oneDNN's packed linear operators.
EXCEPTIONS = {"backbones/packed.py": {"_reorder_linear_weight", "_linear_pointwise"}}


def _private(name: str) -> bool:
    return _PRIVATE.fullmatch(name) is not None


def own_names(tree: ast.AST) -> set[str]:
    """Private names that a file defines: functions, classes, variables, attributes."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id in ("self", "view", "chosen"):
                names.add(node.attr)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("register_buffer"):
            names |= {a.value for a in node.args[:1] if isinstance(a, ast.Constant)}
    return {name for name in names if _private(name)}


def foreign_names(tree: ast.AST, own: set[str]) -> list[tuple[int, str]]:
    """Private names that a file uses and the package does not define."""
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Attribute):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            *("getattr", "setattr", "hasattr", "delattr"),
        ):
            names = [a.value for a in node.args if isinstance(a, ast.Constant)]  # type: ignore[misc]
        found += [
            (getattr(node, "lineno", 0), name)
            for name in names
            if isinstance(name, str) and _private(name) and name not in own
        ]
    return found


OWN = set().union(*(own_names(ast.parse(file.read_text())) for file in FILES))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_private_name_of_others_is_used(file: Path) -> None:
    allowed = EXCEPTIONS.get(str(file.relative_to(PACKAGE)), set())
    found = foreign_names(ast.parse(file.read_text()), OWN | allowed)
    assert not found


@pytest.mark.parametrize(
    "source",
    [
        "trainer._save_rng_state()",
        "from torch._dynamo import config",
        "import torch._inductor",
        "getattr(layer, '_active_adapter')",
        "args._n_gpu = 1",
        "layer._disable_adapters",
    ],
)
def test_the_scan_sees_them(source: str) -> None:
    assert foreign_names(ast.parse(source), OWN)


def _classes() -> list[type]:
    found: dict[str, type] = {}
    for info in pkgutil.walk_packages([str(PACKAGE)], "dllm_audio."):
        if info.name.endswith(("__main__", "lmms_plugin")):
            continue
        try:
            module = importlib.import_module(info.name)
        except ModuleNotFoundError as error:
            if error.name != "gradio":  # of an extra that the tests do without
                raise
            continue
        for value in vars(module).values():
            if inspect.isclass(value) and value.__module__.startswith("dllm_audio"):
                found[f"{value.__module__}.{value.__qualname__}"] = value
    return list(found.values())


def _set_by_metaclass(cls: type) -> set[str]:
    """Private names that torch's own metaclass sets on every autograd function."""
    if not issubclass(cls, torch.autograd.Function):
        return set()
    plain = type("Plain", (torch.autograd.Function,), {})
    return {name for name in vars(plain) if _private(name)}


def overridden(cls: type) -> list[str]:
    """Private members of foreign parents that a class defines itself."""
    parents = [base for base in cls.__mro__[1:] if not base.__module__.startswith("dllm_audio")]
    return [
        name
        for name in vars(cls).keys() - _set_by_metaclass(cls)
        if _private(name)
        and not name.startswith(("_abc_", "_is_protocol", "_is_runtime_protocol", "_Generic"))
        for base in parents
        if base is not object and name in vars(base)
    ]


def test_no_private_member_of_a_parent_is_overridden() -> None:
    wrong = {cls.__qualname__: names for cls in _classes() if (names := overridden(cls))}
    assert not wrong
