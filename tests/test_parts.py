"""The registry: names, descriptions, and what cannot be described."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dllm_audio import register
from dllm_audio.errors import CheckpointError, InvalidArgumentError
from dllm_audio.parts import build, describe, part_class, part_name, registered


@register("adapter", "test-plain")
@dataclass(frozen=True)
class Plain:
    """A part that is a dataclass of plain values."""

    size: int = 3
    taps: tuple[int, ...] = (1, 2)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise InvalidArgumentError("size", "an integer >= 1", self.size)


@register("adapter", "test-nested")
class Nested(nn.Module):
    """A part that holds another one."""

    def __init__(self, inner: Any, scale: float) -> None:
        super().__init__()
        self.inner, self.scale = inner, scale

    def to_config(self) -> dict[str, Any]:
        return {"inner": describe("adapter", self.inner), "scale": self.scale}

    @classmethod
    def from_config(cls, values: dict[str, Any]) -> Nested:
        return cls(build("adapter", values["inner"]), values["scale"])


class Child(Plain):
    """Not registered."""


@given(st.integers(1, 2**40), st.lists(st.integers()), st.floats(allow_nan=False, width=32))
def test_what_is_described_is_built_again(size: int, taps: list[int], scale: float) -> None:
    if abs(scale) == float("inf"):
        return
    part = Nested(Plain(size, tuple(taps)), scale)
    description = describe("adapter", part)
    again = build("adapter", description)
    assert type(again) is Nested
    assert describe("adapter", again) == description
    assert (again.inner.size, list(again.inner.taps), again.scale) == (size, taps, scale)


def test_a_subclass_is_never_taken_for_its_parent() -> None:
    with pytest.raises(InvalidArgumentError, match=r"@register\('adapter', 'child'\)"):
        describe("adapter", Child())
    assert part_name("adapter", Plain()) == "test-plain"


def test_a_name_is_given_once() -> None:
    with pytest.raises(InvalidArgumentError, match="no other class"):
        register("adapter", "test-plain")(Nested)
    assert register("adapter", "test-plain")(Plain) is Plain  # the same once more


def test_a_class_that_cannot_be_described_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="to_config"):
        register("adapter", "test-opaque")(nn.Identity)
    assert "test-opaque" not in registered("adapter")


@pytest.mark.parametrize("value", [object(), {1: 2}, float("nan"), float("inf"), {3}, b"x"])
def test_settings_are_plain_json_values(value: object) -> None:
    part = Nested(Plain(), 1.0)
    part.scale = value  # type: ignore[assignment]
    with pytest.raises(InvalidArgumentError, match="test-nested"):
        describe("adapter", part)


@pytest.mark.parametrize(
    "description",
    [
        None,
        [],
        "test-plain",
        {},
        {"name": 3},
        {"name": "nobody"},
        {"name": "test-plain", "settings": []},
        {"name": "test-plain", "setings": {}},
        {"name": "test-plain", "settings": {"size": 0}},
        {"name": "test-plain", "settings": {"unknown": 0}},
        {"name": "test-nested", "settings": {}},
        {"name": "test-nested", "settings": {"inner": {"name": "nobody"}, "scale": 1}},
    ],
)
def test_a_strangers_description_is_a_checkpoint_error(description: object) -> None:
    with pytest.raises(CheckpointError, match=r"config"):
        build("adapter", description, "config.json")


def test_unknown_kinds_and_names() -> None:
    with pytest.raises(InvalidArgumentError, match="kind"):
        register("sampler", "x")
    with pytest.raises(InvalidArgumentError, match="name"):
        register("adapter", "")
    with pytest.raises(InvalidArgumentError, match="semantic"):
        part_class("adapter", "nobody")
