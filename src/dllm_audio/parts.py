"""The registry of parts: what a model is put together from, by name.

A registered part can be described in plain JSON values and built again from them, so that a model
of anybody's parts can be saved, loaded, trained, evaluated and served like one of ours.

A description is ``{"name": registered name, "settings": plain JSON values}``; settings may hold
further descriptions (an adapter made of two adapters).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import math
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from .errors import CheckpointError, DllmAudioError, InvalidArgumentError, one_line

Part = TypeVar("Part", bound=type)
Description = dict[str, Any]

KINDS = ("encoder", "adapter", "backbone", "commit")
# Where this library's own parts are registered; imported when a name is asked for first.
_HOMES = {
    "encoder": "dllm_audio.encoders",
    "adapter": "dllm_audio.adapters",
    "backbone": "dllm_audio.backbones",
    "commit": "dllm_audio.samplers",
}
_DEEPEST = 16  # descriptions inside descriptions

_registry: dict[str, dict[str, type]] = {kind: {} for kind in KINDS}


def register(kind: str, name: str) -> Callable[[Part], Part]:
    """Class decorator: make a part known under a name.

    The class has ``to_config()``, which returns plain JSON values (a dataclass of such values needs
    none), and perhaps a class method ``from_config(values)``; without one, ``cls(**values)``.

    Args:
        kind: ``"encoder"``, ``"adapter"``, ``"backbone"`` or ``"commit"``.
        name: what models, stages and run files call it.

    Returns:
        A decorator that gives the class back.

    Raises:
        InvalidArgumentError: an unknown kind, a name that another class has, or a class that cannot
            be described.

    Example:
        >>> from dataclasses import dataclass
        >>> from dllm_audio import register
        >>> from dllm_audio.samplers import CommitRule
        >>> @register("commit", "every-position")
        ... @dataclass(frozen=True)
        ... class EveryPosition(CommitRule):
        ...     def commit(self, state):
        ...         return state.candidates
        >>> describe("commit", EveryPosition())
        {'name': 'every-position', 'settings': {}}
    """
    _check_kind(kind)
    if not isinstance(name, str) or not name:
        raise InvalidArgumentError("name", "a text that is not empty", repr(name))

    def remember(cls: Part) -> Part:
        known = _registry[kind].get(name)
        # The same class once more is a notebook cell that ran twice.
        if known is not None and _path_of(known) != _path_of(cls):
            raise InvalidArgumentError("name", "one that no other class has", f"{name!r} ({known})")
        if not (hasattr(cls, "to_config") or is_dataclass(cls)):
            raise InvalidArgumentError("cls", "a class with to_config()", cls.__name__)
        _registry[kind][name] = cls
        return cls

    return remember


def import_parts(source: str, argument: str = "source") -> None:
    """Import a module that registers parts, once.

    For what a person names: nothing that a model's folder names is ever imported.

    Args:
        source: a module's name, looked for in the current folder too; or a file, by a path that
            ends in ``.py``.
        argument: what errors call it.

    Raises:
        InvalidArgumentError: there is no such module or file, or it fails while it is imported.
    """
    try:
        if source.endswith(".py"):
            _import_file(Path(source).resolve())
        else:
            if not {"", str(Path.cwd())} & {*sys.path}:
                sys.path.append(str(Path.cwd()))  # at the end: it hides no other module
            importlib.import_module(source)
    except (Exception, SystemExit) as error:  # whatever its own code raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        expected = "a module, or a .py file, that can be imported"
        raise InvalidArgumentError(argument, expected, f"{source!r} ({reason:.300})") from error


def _import_file(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError("there is no such file")
    # Unlike the stem alone, no name of another module.
    name = f"{path.stem}_{hashlib.sha256(str(path).encode('utf-8', 'replace')).hexdigest()[:8]}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def registered(kind: str) -> dict[str, type]:
    """Every registered class of a kind, by name."""
    _check_kind(kind)
    importlib.import_module(_HOMES[kind])
    return dict(_registry[kind])


def part_class(kind: str, name: str) -> type:
    """The class behind a name.

    Raises:
        InvalidArgumentError: nothing of that name is registered.
    """
    known = registered(kind)
    if name not in known:
        expected = f"one of {sorted(known)}, or a class under @register({kind!r}, ...)"
        raise InvalidArgumentError(kind, expected, repr(name))
    return known[name]


def part_name(kind: str, part: object) -> str:
    """The name under which the part's own class (not a parent of it) is registered.

    Raises:
        InvalidArgumentError: the class is not registered; says the line that would.
    """
    cls = type(part)
    for name, known in registered(kind).items():
        if known is cls:
            return name
    expected = f"a registered part; write @register({kind!r}, {_suggestion(cls)!r}) above the class"
    raise InvalidArgumentError(kind, expected, f"{cls.__module__}.{cls.__qualname__}")


def describe(kind: str, part: object) -> Description:
    """A part as ``{"name": ..., "settings": ...}`` in plain JSON values.

    Args:
        kind: of the part.
        part: its class is registered.

    Raises:
        InvalidArgumentError: not registered, or its settings are no plain JSON values.
    """
    name = part_name(kind, part)
    to_config = getattr(part, "to_config", None)
    if to_config is not None:
        settings = to_config()
    else:
        settings = {field.name: getattr(part, field.name) for field in fields(part)}  # type: ignore[arg-type]
    return {"name": name, "settings": _plain(settings, f"{kind} {name!r}", _DEEPEST)}


def build(kind: str, description: object, source: str = "config") -> Any:
    """The part that a description describes, with new weights.

    Args:
        kind: of the part.
        description: as :func:`describe` gives it; perhaps from a stranger's file.
        source: named in errors.

    Raises:
        CheckpointError: no description, an unknown name, or settings that the class refuses.

    Example:
        >>> settings = {"encoder_dim": 8, "lm_dim": 4}
        >>> build("adapter", {"name": "semantic", "settings": settings}).stride
        4
    """
    if not isinstance(description, Mapping) or not isinstance(description.get("name"), str):
        raise CheckpointError(f"{source}: {kind}: expected an object with a name and settings")
    name, settings = description["name"], description.get("settings", {})
    unknown = sorted(map(str, description.keys() - {"name", "settings"}))
    if unknown or not isinstance(settings, Mapping):
        raise CheckpointError(f"{source}: {kind} {name!r}: expected settings, got {unknown}")
    try:
        cls = part_class(kind, name)
        from_config = getattr(cls, "from_config", None)
        return cls(**settings) if from_config is None else from_config(dict(settings))
    except DllmAudioError as error:
        made = type(error) if isinstance(error, CheckpointError) else CheckpointError
        raise made(f"{source}: {kind} {name!r}: {one_line(error)}") from error
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise CheckpointError(f"{source}: {kind} {name!r}: {reason}") from error


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise InvalidArgumentError("kind", f"one of {KINDS}", repr(kind))


def _path_of(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _suggestion(cls: type) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower().strip("_")


def _plain(value: Any, what: str, depth: int) -> Any:
    """The value as JSON knows it: tuples become lists."""
    if depth and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item, what, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, list | tuple):
        return [_plain(item, what, depth - 1) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise InvalidArgumentError("to_config", f"plain JSON values in the settings of {what}", value)
