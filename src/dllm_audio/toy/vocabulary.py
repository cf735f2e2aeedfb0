"""What can be said in the toy world, in the units in which voices say it.

A command is one unit (``"turn left"``) or several, some of which fill a slot (``"set a timer
for"``, ``"ten"``, ``"minutes"``).
"""

from __future__ import annotations

from itertools import product

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = (
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen",
    "eighteen", "nineteen",
)  # fmt: skip
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
WORDS = (
    "yes", "no", "red", "green", "blue", "yellow", "black", "white",
    "cat", "dog", "house", "tree", "water", "bread", "sun", "moon",
)  # fmt: skip
# What the answer is to what was said or heard, where it is none of what this world knows.
UNKNOWN = "unknown"

_NAMES = ("anna", "maria", "peter", "john")
_MUSIC = ("jazz", "rock", "piano")
_DEVICES = ("radio", "heater", "fan")
_MINUTES = ("five", "ten", "fifteen", "twenty", "thirty", "forty", "fifty")
_HOURS = (*DIGITS[1:], *TEENS[:3])

# Every command by its units; a tuple in place of a unit is a slot.
_TEMPLATES: tuple[tuple[str | tuple[str, ...], ...], ...] = (
    ("go",),
    ("stop",),
    ("pause",),
    ("turn left",),
    ("turn right",),
    ("open the door",),
    ("close the door",),
    ("play music",),
    ("call home",),
    ("lights on",),
    ("lights off",),
    ("volume up",),
    ("volume down",),
    ("call", _NAMES),
    ("play", _MUSIC),
    ("turn on the", _DEVICES),
    ("turn off the", _DEVICES),
    ("set a timer for", _MINUTES, "minutes"),
    ("set the volume to", DIGITS[1:]),
    ("wake me at", _HOURS),
)


def _filled(template: tuple[str | tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
    return tuple(product(*((part,) if isinstance(part, str) else part for part in template)))


# The units of every command, those of one template together.
COMMAND_UNITS: tuple[tuple[tuple[str, ...], ...], ...] = tuple(map(_filled, _TEMPLATES))
COMMANDS: tuple[str, ...] = tuple(
    " ".join(units) for commands in COMMAND_UNITS for units in commands
)
NUMBER_UNITS: tuple[tuple[str, ...], ...] = (
    *((teen,) for teen in TEENS),
    *((ten,) for ten in TENS),
    *((ten, digit) for ten in TENS for digit in DIGITS[1:]),
)
NUMBERS: tuple[str, ...] = tuple(" ".join(units) for units in NUMBER_UNITS)
# Everything that a voice of the bank says.
UNITS: tuple[str, ...] = tuple(
    dict.fromkeys(
        (
            *DIGITS,
            *TEENS,
            *TENS,
            *WORDS,
            *(unit for commands in COMMAND_UNITS for units in commands for unit in units),
        )
    )
)
_FUNCTION_WORDS = {"a", "the", "to", "for", "at", "me"}


def content_words(unit: str) -> tuple[str, ...]:
    """Words of a unit that tell it from the others: without articles and the like."""
    return tuple(word for word in unit.split() if word not in _FUNCTION_WORDS)


CONTENT_WORDS: tuple[str, ...] = tuple(
    dict.fromkeys(word for unit in UNITS for word in content_words(unit))
)
