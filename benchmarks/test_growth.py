"""The curves of growth: their laws, and a run at toy size."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from . import growth
from .report import Report

POSITIVE = st.floats(1e-3, 10)


@given(fixed=POSITIVE, slope=POSITIVE)
def test_a_straight_line_is_found(fixed: float, slope: float) -> None:
    law = growth.fit([(n, fixed + slope * n) for n in (1, 2, 8, 32)])
    assert math.isclose(law.fixed, fixed, rel_tol=1e-6, abs_tol=1e-6)
    assert math.isclose(law.slope, slope, rel_tol=1e-6)
    assert law.miss < 1e-6


def test_what_a_line_misses_is_relative() -> None:
    # With weights 1, 1 and 1/16 the normal equations are 33 f + 51 s = 36 and 51 f + 89 s = 60.
    law = growth.fit([(1, 1.0), (2, 1.0), (3, 4.0)])
    assert (law.fixed, law.slope) == (pytest.approx(3 / 7), pytest.approx(3 / 7))
    assert law.miss == pytest.approx(4 / 7)  # at n = 3: 12/7 for 4


def test_one_point_is_no_law() -> None:
    with pytest.raises(ValueError, match="two different n"):
        growth.fit([(3, 1.0), (3, 2.0)])


def test_a_run_at_toy_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert growth.main(["--model-size", "tiny", "--repeats", "1", "--output", str(tmp_path)]) == 0
    (data,) = tmp_path.glob("growth-tiny-*.json")
    report = Report.load(data)
    varied = growth.points_of("tiny")
    for axis, values in varied.items():
        found = growth.curves(report, axis)
        names = {*growth.LAYOUTS} | ({growth.PEER} if axis == "batch" else set())
        assert {*found} == names
        assert all([n for n, _ in points] == [*values] for points in found.values())
    table = growth.laws(report)
    assert table in data.with_suffix(".md").read_text(encoding="utf-8")
    assert table in capsys.readouterr().out
    assert data.with_suffix(".png").stat().st_size > 1000
