"""Decoding strategies side by side with the plain loop and with an autoregressive model."""

from __future__ import annotations

import pytest

from .decoding import measure_case, measure_peer, measure_plain, missing_for
from .run import Run
from .strategies import Case


def _skip_unless_possible(mode: str, run: Run) -> None:
    reason = missing_for(mode, run)
    if reason:
        pytest.skip(reason)


def test_plain(run: Run) -> None:
    if not run.wants("plain"):
        pytest.skip("not among --strategies")
    measure_plain(run)


@pytest.mark.filterwarnings("ignore")  # torch.compile warns about itself
def test_strategy(run: Run, case: Case) -> None:
    _skip_unless_possible(case.mode, run)
    measure_case(run, case)


@pytest.mark.filterwarnings("ignore")  # torch.compile warns about itself
@pytest.mark.parametrize("mode", ["static", "packed", "compiled"])
@pytest.mark.parametrize("batch", [1, 8, 32])
def test_autoregressive(run: Run, batch: int, mode: str) -> None:
    if not run.wants("autoregressive"):
        pytest.skip("not among --strategies")
    _skip_unless_possible(mode, run)
    if mode == "compiled" and batch > 1 and run.device.type == "cpu":
        pytest.skip("compiling helps small batches; on a CPU at batch 1 only")
    if batch not in run.axes.batches:
        pytest.skip("not among the batches")
    measure_peer(run, batch, mode)
