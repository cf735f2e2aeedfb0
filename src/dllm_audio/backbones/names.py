"""What published checkpoints call a tensor, and what the library calls it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import CheckpointError


@dataclass(frozen=True)
class Names:
    """Pairs of published and own fragments, which together turn one name into the other.

    Args:
        prefix: starts every published name that is not the output head's.
        pairs: published fragment and the library's; one without a dot in front begins the name.
        head: the published name of the output head's module.

    Example:
        >>> names = Names("model.", (("layers.", "blocks."), (".mlp.up_proj", ".up_proj")))
        >>> names.native("model.layers.0.mlp.up_proj.weight")
        'blocks.0.up_proj.weight'
        >>> names.published("blocks.0.up_proj.weight")
        'model.layers.0.mlp.up_proj.weight'
    """

    prefix: str
    pairs: tuple[tuple[str, str], ...] = ()
    head: str | None = None

    def native(self, published: str) -> str:
        """The library's name of a published tensor.

        Raises:
            CheckpointError: no published name.
        """
        if self.head is not None and published.startswith(f"{self.head}."):
            return "ff_out." + published.removeprefix(f"{self.head}.")
        if not published.startswith(self.prefix):
            raise CheckpointError(f"{published}: expected a name that starts with {self.prefix}")
        return _replaced(published.removeprefix(self.prefix), self.pairs)

    def published(self, native: str) -> str:
        """The name under which checkpoints store a tensor of the library."""
        if self.head is not None and native.startswith("ff_out."):
            return f"{self.head}." + native.removeprefix("ff_out.")
        return self.prefix + _replaced(native, ((own, other) for other, own in self.pairs))

    def as_patterns(self) -> dict[str, str]:
        """The same towards the library's names, as regular expressions for transformers."""
        head = {} if self.head is None else {rf"^{re.escape(self.head)}\.(.+)": r"ff_out.\1"}
        pairs = {_anchor(other) + re.escape(other): own for other, own in self.pairs}
        return {**head, rf"^{re.escape(self.prefix)}(.+)": r"\1", **pairs}


def _replaced(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    for old, new in pairs:
        name = re.sub(_anchor(old) + re.escape(old), new, name, count=1)
    return name


def _anchor(fragment: str) -> str:
    return "" if fragment.startswith(".") else "^"
