"""How confidence and tokens look, wherever a response is drawn."""

from __future__ import annotations

DARK, LIGHT = "#22303c", "#ffffff"
# Confidence from 0 to 1 by equal steps: dark to light, as in the still pictures.
COLORS = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")
_DARK_INK_FROM = 0.6


def confidence_color(sure: float) -> str:
    """The color of a confidence, between the two nearest of the scale.

    Args:
        sure: beyond 0 and 1 the ends of the scale.

    Example:
        >>> confidence_color(0.0), confidence_color(0.5), confidence_color(1.0)
        ('#440154', '#269089', '#fde725')
    """
    place = min(max(sure, 0.0), 1.0) * (len(COLORS) - 1)
    low = min(int(place), len(COLORS) - 2)
    share = place - low

    def part(index: int) -> int:
        one, other = (int(COLORS[low + n][1 + 2 * index : 3 + 2 * index], 16) for n in (0, 1))
        return round(one + share * (other - one))

    return f"#{part(0):02x}{part(1):02x}{part(2):02x}"


def ink_over(sure: float) -> str:
    """The color of a text that can be read over that of a confidence."""
    return LIGHT if sure < _DARK_INK_FROM else DARK


def printable(text: str) -> str:
    """Without what XML does not allow and nobody can see."""
    return "".join(c if c.isprintable() else " " for c in text)
