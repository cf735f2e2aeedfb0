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
    fields = {"seconds": 10.0, "lost": 0, "wrong": 0, "p50": 0.5, "p95": 0.9}
    alone = Load(rows=1, clients=4, answers=20, rows_per_batch=1.0, peak_mib=None, **fields)  # type: ignore[arg-type]
    shared = Load(rows=8, clients=4, answers=50, rows_per_batch=3.5, peak_mib=512.0, **fields)  # type: ignore[arg-type]
    last = table([alone, shared]).splitlines()[-1]
    assert last == "| 8 | 4 | 5.00 | 2.50x | 0.50 s | 0.90 s | 3.50 | 512 MiB | 0 | 0 |"
