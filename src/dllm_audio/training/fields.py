"""Run files: dataclasses from JSON, and their page of documentation, from one description.

The description of a key is its dataclass field and what the docstring says of it under ``Args``.
"""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import InvalidArgumentError

T = TypeVar("T")
_WORDS = {str: "a text", int: "an integer", float: "a number", bool: "true or false"}
_ROLE = re.compile(r":\w+:`([^`]+)`")  # a cross reference of the documentation
_ARGUMENT = re.compile(r"    (\w+): (.*)")


def from_json(kind: type[T], values: Any, where: str) -> T:
    """A dataclass from JSON values, and dataclasses inside it.

    Args:
        kind: a dataclass whose fields are annotated.
        values: an object of a run file.
        where: file and key, put in front of errors.

    Raises:
        InvalidArgumentError: an unknown or missing key, a value of another type, or one that the
            dataclass refuses; names file and key.
    """
    if not isinstance(values, Mapping):
        raise InvalidArgumentError(where.removesuffix(": "), "an object", repr(values))
    whole = where.removesuffix(": ")
    known = {_key(f): f for f in fields(kind) if f.init}  # type: ignore[arg-type]
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise InvalidArgumentError(whole, f"names among {sorted(known)}", unknown)
    for name, each in known.items():
        if name not in values and _is_required(each):
            raise InvalidArgumentError(whole, f"an entry {name!r}", sorted(values))
    hints = get_type_hints(kind)
    names = {key: known[key].name for key in values}
    made = {names[k]: _value(hints[names[k]], v, key_in(where, k)) for k, v in values.items()}
    try:
        return kind(**made)
    except InvalidArgumentError as error:
        raise InvalidArgumentError(
            key_in(where, error.argument), error.expected, error.got
        ) from error


def _key(each: Field[Any]) -> str:
    """What a run file calls a field: ``import`` is no name that Python allows."""
    return each.name.removesuffix("_")


def key_in(where: str, key: str) -> str:
    """The name of a key for errors: ``run.json: data.asr``."""
    return f"{where}{key}" if where.endswith(": ") else f"{where}.{key}"


def _value(hint: Any, value: Any, where: str) -> Any:
    """A value of the hinted type."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _one_of(inner, value, where)
    if is_dataclass(hint):
        return from_json(hint, value, where)  # type: ignore[arg-type]
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise InvalidArgumentError(where, "an object", repr(value))
        return {k: _value(inner[1], v, key_in(where, k)) for k, v in value.items()}
    if origin is not None and issubclass(origin, Sequence):
        if not isinstance(value, list):
            raise InvalidArgumentError(where, "a list", repr(value))
        return tuple(_value(inner[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if hint in _WORDS:
        accepted = (int, float) if hint is float else hint
        if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
            raise InvalidArgumentError(where, _WORDS[hint], repr(value))
    return value


def _one_of(kinds: Sequence[Any], value: Any, where: str) -> Any:
    """A value of the first kind that it can be."""
    if value is None and type(None) in kinds:
        return None
    kinds = [kind for kind in kinds if kind is not type(None)]
    # An object or a list says for itself what it wants to be; its errors are the ones to tell.
    shaped = [k for k in kinds if isinstance(value, Mapping | list) and _shape(k) is type(value)]
    if len(shaped) == 1 or len(kinds) == 1:
        return _value((shaped or kinds)[0], value, where)
    for kind in kinds:
        try:
            return _value(kind, value, where)
        except InvalidArgumentError:
            continue
    raise InvalidArgumentError(where, " or ".join(map(_name, kinds)), repr(value))


def _shape(hint: Any) -> type | None:
    """What JSON gives for a hint: ``dict``, ``list``, or neither."""
    origin = get_origin(hint)
    if is_dataclass(hint) or (origin is not None and issubclass(origin, Mapping)):
        return dict
    return list if origin is not None and issubclass(origin, Sequence) else None


def _is_required(each: Field[Any]) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


# Documentation.


def page(sections: Sequence[tuple[str, type]]) -> str:
    """Every key of the dataclasses, with type, default and meaning.

    Args:
        sections: headings and dataclasses, in order.
    """
    return "\n".join(_section(title, kind) for title, kind in sections)


def _section(title: str, kind: type) -> str:
    hints, meanings = get_type_hints(kind), _meanings(kind)
    lines = [title, "-" * len(title), _summary(kind), ""]
    for each in fields(kind):  # type: ignore[arg-type]
        if each.init:
            default = "required" if _is_required(each) else f"default {_default(each)}"
            lines += [f"{_key(each)}  ({_name(hints[each.name])}; {default})"]
            # What Python calls None is null in the file.
            plain = (line.replace("None", "null") for line in meanings[each.name])
            lines += ["    " + _ROLE.sub(r"\1", line) for line in plain]
    return "\n".join([*lines, ""])


def _summary(kind: type) -> str:
    return (inspect.getdoc(kind) or "").split("\n", 1)[0]


def _meanings(kind: type) -> dict[str, list[str]]:
    """What a docstring says of each argument, line by line."""
    found: dict[str, list[str]] = {}
    text = inspect.getdoc(kind) or ""
    block = text.partition("Args:\n")[2].split("\n\n")[0]
    for line in block.split("\n"):
        match = _ARGUMENT.fullmatch(line)
        if match:
            found[match[1]] = [match[2]]
        elif found:
            found[next(reversed(found))].append(line.strip())
    return found


def _default(each: Field[Any]) -> str:
    value: Any = each.default
    if value is MISSING:
        make: Any = each.default_factory
        value = make()
    if is_dataclass(value):
        return f"that of {type(value).__name__}"
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return words[value]
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{v}"' if isinstance(v, str) else str(v) for v in value) + "]"
    return "{}" if value == {} else str(value)


def _name(hint: Any) -> str:
    """A type in words."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_name, inner))
    if is_dataclass(hint):
        return f"object: {hint.__name__}"  # type: ignore[union-attr]
    if origin is not None and issubclass(origin, Mapping):
        nested = is_dataclass(inner[1])
        return f"object of names, each {_name(inner[1])}" if nested else "object"
    if origin is not None and issubclass(origin, Sequence):
        return f"list of: {_name(inner[0])}"
    short = {str: "text", int: "integer", float: "number", bool: "true or false"}
    return short.get(hint, "null" if hint is type(None) else "any value")
