from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllm_audio.data import EpochOrder
from dllm_audio.errors import InvalidArgumentError


@settings(max_examples=50)
@given(
    size=st.integers(1, 300),
    batch=st.integers(1, 20),
    epoch=st.integers(0, 5),
    grouped=st.booleans(),
)
def test_every_epoch_visits_different_rows_in_whole_batches(size, batch, epoch, grouped) -> None:
    batch = min(batch, size)
    lengths = [float(row % 17) for row in range(size)] if grouped else None
    order = EpochOrder(size, batch, seed=3, lengths=lengths)
    order.set_epoch(epoch)
    rows = list(order)
    assert len(rows) == len(order) == size // batch * batch
    assert len(set(rows)) == len(rows)
    assert set(rows) <= set(range(size))
    again = EpochOrder(size, batch, seed=3, lengths=lengths)
    again.set_epoch(epoch)
    assert list(again) == rows


def test_epochs_and_seeds_differ() -> None:
    order = EpochOrder(100, 10, seed=0)
    first = list(order)
    order.set_epoch(1)
    assert list(order) != first
    assert list(EpochOrder(100, 10, seed=1)) != first


def test_batches_hold_rows_of_similar_length() -> None:
    lengths = [float((row * 37) % 100) for row in range(400)]

    def spread(order: EpochOrder) -> float:
        rows = list(order)
        batches = [rows[i : i + 8] for i in range(0, len(rows), 8)]
        return sum(max(lengths[r] for r in b) - min(lengths[r] for r in b) for b in batches)

    assert spread(EpochOrder(400, 8, lengths=lengths)) < 0.1 * spread(EpochOrder(400, 8))


def test_too_few_rows() -> None:
    with pytest.raises(InvalidArgumentError, match=r"global_batch: expected 1 to 3.*got 4"):
        EpochOrder(3, 4)
    with pytest.raises(InvalidArgumentError, match="lengths"):
        EpochOrder(3, 1, lengths=[1.0])
