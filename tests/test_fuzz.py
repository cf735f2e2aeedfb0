"""Random decodings: whatever the model, the batch and the sampler, the laws hold.

The default is a handful. For a long search, which prints every case that breaks a law::

    FUZZ_CASES=2000 python -m pytest -q tests/test_fuzz.py

``FUZZ_FIRST=500`` begins with case 500; a case can be made again with ``fuzz_cases.make(number)``.
"""

from __future__ import annotations

import pytest

import fuzz_cases
import fuzzing
from long_search import FIRST, cases

CASES = cases(60)
_CHUNK = 20


@pytest.mark.parametrize("first", range(FIRST, FIRST + CASES, _CHUNK))
def test_random_decodings_keep_the_laws(first: int) -> None:
    broken = []
    for number in range(first, min(first + _CHUNK, FIRST + CASES)):
        case = fuzz_cases.make(number)
        found = fuzzing.check(case)
        if found:
            broken.append(f"{fuzzing.describe(case)}: {found}")
    assert not broken, "\n".join(broken)
