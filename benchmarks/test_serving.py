"""The load test of the server at its smallest: the figures exist, and no answer is lost."""

from __future__ import annotations

import pytest

pytest.importorskip("fastapi")

from .serving import Load, run, table


def test_a_load_of_a_moment() -> None:
    loads = run(0.0, clients=(1, 3), rows=(2,))
    assert [(load.clients, load.answers) for load in loads] == [(1, 1), (3, 3)]
    for load in loads:
        assert (load.lost, load.wrong) == (0, 0)
        assert 0 < load.p50 <= load.p95
        assert 1 <= load.rows_per_batch <= 2
    assert table(loads).count("\n") == 3


def test_the_table_compares_with_one_at_a_time() -> None:
    alone = Load(1, 4, 10.0, 20, 0, 0, 0.5, 0.9, 1.0, None, None)
    shared = Load(8, 4, 10.0, 50, 0, 0, 0.5, 0.9, 3.5, 512.0, 0.25)
    last = table([alone, shared]).splitlines()[-1]
    assert last == "| 8 | 4 | 5.00 | 2.50x | 0.50 s | 0.90 s | 3.50 | 0.250 s | 512 MiB | 0 | 0 |"
