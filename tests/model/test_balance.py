"""Every source comes equally often, in an order that is a function of the seed and the number alone."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.balance import BalancedOrder
from model.data import PatchIndex, split_bank
from model.order import Batches
from pipeline.bank import BankReader
from tests.model.toy_bank import make_bank, sources_on


def index(sources: list[int]) -> PatchIndex:
    codes = np.unique(sources, return_inverse=True)[1].astype(np.int64)
    return PatchIndex(np.arange(len(sources)), np.arange(len(sources)), "f", codes)


@given(sources=st.lists(st.integers(0, 4), min_size=1, max_size=20), seed=st.integers(0, 2**63 - 1))
def test_sources_come_equally_often_and_so_do_patches_within(sources: list[int], seed: int) -> None:
    order = BalancedOrder.over(seed, index(sources))
    kinds = len(set(sources))
    places = [order.place(i) for i in range(kinds * 12)]
    assert set(Counter(sources[place] for place in places).values()) == {12}
    for source in set(sources):
        within = Counter(place for place in places if sources[place] == source)
        assert max(within.values()) - min(within.get(i, 0) for i, s in enumerate(sources) if s == source) <= 1


def test_passes_differ_and_the_seed_decides() -> None:
    sources = [0] * 10 + [1] * 2 + [2] * 5
    one, other = ([BalancedOrder.over(seed, index(sources)).place(i) for i in range(60)] for seed in (1, 2))
    assert one != other
    passes = [tuple(sources[place] for place in one[i : i + 3]) for i in range(0, 60, 3)]
    assert len(set(passes)) > 2
    assert any(a != b for a, b in pairwise(passes))


@given(stop=st.integers(0, 9), batch=st.integers(1, 5))
def test_a_resumed_order_is_the_uninterrupted_one(stop: int, batch: int) -> None:
    order = BalancedOrder.over(3, index([0, 0, 0, 1, 2, 2]))
    taken = BalancedOrder.over(3, index([0, 0, 0, 1, 2, 2])).taken(order.state(stop * batch))
    resumed = [*Batches(order, batch, 0, stop), *Batches(order, batch, taken // batch, 10)]
    assert resumed == list(Batches(order, batch, 0, 10))


def test_the_bank_tells_its_sources(tmp_path: Path) -> None:
    reader = BankReader(make_bank(tmp_path / "bank", sources_on("train", 3)))
    train = split_bank(reader, 1).train
    table = reader.patches(["patch_id", "source_id"]).to_pydict()
    source_of = dict(zip(table["patch_id"], table["source_id"], strict=True))
    found = {(int(code), source_of[int(patch)]) for code, patch in zip(train.sources, train.patch_ids, strict=True)}
    assert sorted(code for code, _ in found) == [0, 1, 2]
