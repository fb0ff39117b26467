"""The order of a run: every place once a pass, a function of the seed alone, resumed in the middle."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.data import PatchIndex
from model.order import Batches, Order
from pipeline.errors import BankError


def index(length: int) -> PatchIndex:
    return PatchIndex(np.arange(length), np.arange(length), "fingerprint", np.zeros(length, np.int64))


def test_an_epoch_takes_every_patch_once_in_another_order() -> None:
    order = Order(3, index(10))
    first, second = order.permutation(0).tolist(), order.permutation(1).tolist()
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first != Order(4, index(10)).permutation(0).tolist()
    assert first == Order(3, index(10)).permutation(0).tolist()


@given(length=st.integers(1, 12), batch=st.integers(1, 9), stop=st.integers(0, 12), seed=st.integers(0, 2**63 - 1))
def test_a_resumed_order_is_the_uninterrupted_one(length: int, batch: int, stop: int, seed: int) -> None:
    order = Order(seed, index(length))
    whole = list(Batches(order, batch, 0, 12))
    state = order.state(stop * batch)
    taken = Order(state.seed, index(length)).taken(state)
    assert taken == stop * batch
    assert list(Batches(order, batch, 0, stop)) + list(Batches(order, batch, taken // batch, 12)) == whole


@given(length=st.integers(1, 12), batch=st.integers(1, 9))
def test_batches_are_full_and_span_passes(length: int, batch: int) -> None:
    order = Order(0, index(length))
    batches = list(Batches(order, batch, 0, length))  # `batch` passes in all
    assert {len(b) for b in batches} == {batch}
    assert [draw.number for b in batches for draw in b] == list(range(length * batch))
    assert [draw.place for b in batches for draw in b] == [
        i for epoch in range(batch) for i in order.permutation(epoch).tolist()
    ]


def test_another_index_is_refused() -> None:
    state = Order(0, index(5)).state(7)
    assert (state.epoch, state.position) == (1, 2)
    with pytest.raises(BankError, match="not those the run was started with"):
        Order(0, replace(index(5), fingerprint="another")).taken(state)
