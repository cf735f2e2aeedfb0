"""Texts outside the toy world: words, phrases and sentences that its model must not claim to know.

apt-get install wamerican fortunes
"""

from __future__ import annotations

import random
import re
from functools import lru_cache
from pathlib import Path

from dllm_audio.toy import DIGITS, NUMBERS, UNITS

DICTIONARY = Path("/usr/share/dict/american-english")
FORTUNES = Path("/usr/share/games/fortunes")
_KNOWN = {word for unit in UNITS for word in unit.split()}
# Sentences around words that the model knows.
_AROUND = (
    "i have {0} {1}", "chapter {0}", "about {0} people", "they won {0} to {2}", "{1} number {0}",
    "{0} hundred", "{0} thousand", "{0} percent of the {1}", "press {0} for the {1}",
    "the {1} is {3}", "a {3} {1}", "my {3} {1}", "room {0} on the left",
    "at {0} {2} in the morning",
    "please turn the {1} around", "do not stop", "go to the {1}", "call the {1}", "play the {1}",
    "open your {1}", "who said {3}", "{0} or {2}", "{0} and {2}", "no more {1}", "yes we do",
)  # fmt: skip


@lru_cache(maxsize=1)
def words() -> tuple[str, ...]:
    """Words of the dictionary, in small letters and without those of the world."""
    lines = DICTIONARY.read_text(encoding="utf-8").split()
    plain = (word for word in lines if re.fullmatch(r"[a-z]{3,12}", word))
    return tuple(word for word in plain if word not in _KNOWN)


@lru_cache(maxsize=1)
def sentences() -> tuple[str, ...]:
    """Sentences of 3 to 14 words."""
    found = []
    for path in sorted(FORTUNES.iterdir()):
        if path.is_file() and not path.suffix:
            text = path.read_text(encoding="utf-8", errors="ignore")
            for piece in re.split(r"[.!?%\n]\s", re.sub(r"\s*\n(?!%)\s*", " ", text)):
                plain = re.sub(r"\s+", " ", piece.strip(" \"'-"))
                if re.fullmatch(r"[A-Za-z',; -]+", plain) and 3 <= len(plain.split()) <= 14:
                    found.append(plain)
    return tuple(dict.fromkeys(found))


def draw_text(rng: random.Random) -> str:
    """A sentence, a phrase, a word, or a sentence around words that the model knows."""
    kind = rng.random()
    if kind < 0.45:
        return rng.choice(sentences())
    if kind < 0.6:
        return rng.choice(words())
    if kind < 0.8:
        return " ".join(rng.choice(words()) for _ in range(rng.randint(2, 4)))
    number = rng.choice(NUMBERS if rng.random() < 0.3 else DIGITS)
    known = rng.choice([unit for unit in UNITS if " " not in unit])
    return rng.choice(_AROUND).format(number, rng.choice(words()), rng.choice(DIGITS), known)
