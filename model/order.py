"""The order in which a run takes what it learns from: an endless sequence, every part of it a function of the seed.

Legend: N places of an index; a patch of a run has a number, counted from the run's first.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

from pipeline.errors import BankError


class Index(Protocol):
    """What can be trained on, one place after another; `fingerprint` (hex) changes if any of it is another one."""

    @property
    def fingerprint(self) -> str:
        """Return what tells this index from any other."""

    def __len__(self) -> int:
        """Return how many places there are."""


class Draw(NamedTuple):
    """One patch of a run: its place in the index and its number in the run, which all that is random about it has."""

    place: int
    number: int


@dataclass(frozen=True, slots=True)
class SamplerState:
    """Where a run stands in its endless sequence of patches: `position` patches into pass `epoch` over the index."""

    seed: int
    epoch: int
    position: int
    fingerprint: str  # of the Index


@functools.lru_cache(maxsize=2)  # a batch may span two passes
def _permutation(seed: int, epoch: int, length: int) -> npt.NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(length)


@dataclass(frozen=True, slots=True)
class Order:
    """The sequence of a run: patch i is element i mod N of permutation i div N, a function of (seed, i) alone.

    Batches are cut from that endless sequence, so that every one is full and a batch may span two passes.
    """

    seed: int
    index: Index

    def permutation(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return pass number `epoch` over the index, (N,)."""
        return _permutation(self.seed, epoch, len(self.index))

    def place(self, i: int) -> int:
        """Return the place in the index of patch number i of the run."""
        epoch, position = divmod(i, len(self.index))
        return int(self.permutation(epoch)[position])

    def state(self, taken: int) -> SamplerState:
        """Return the state after `taken` patches of the run."""
        epoch, position = divmod(taken, len(self.index))
        return SamplerState(self.seed, epoch, position, self.index.fingerprint)

    def taken(self, state: SamplerState) -> int:
        """Return how many patches a run has taken; refuses the state of another sequence."""
        if state.fingerprint != self.index.fingerprint:
            raise BankError(
                "the patches to train on are not those the run was started with, so it cannot go on from where it "
                "stopped: use the same bank, threshold and split, or the same photographs and holes, or start another "
                "run with another --out"
            )
        return state.epoch * len(self.index) + state.position


class Batches(Sampler[list[Draw]]):
    """Batches number `first` to `last` - 1 of an order."""

    def __init__(self, order: Order, batch_size: int, first: int, last: int) -> None:
        self.order, self.batch_size, self.first, self.last = order, batch_size, first, last

    def __len__(self) -> int:
        return max(self.last - self.first, 0)

    def __iter__(self) -> Iterator[list[Draw]]:
        for batch in range(self.first, self.last):
            numbers = range(batch * self.batch_size, (batch + 1) * self.batch_size)
            yield [Draw(self.order.place(i), i) for i in numbers]


def one_pass(length: int, batch_size: int) -> list[list[Draw]]:
    """Return the batches of a validation: every place once, in order, its number the same at each validation."""
    draws = [Draw(i, i) for i in range(length)]
    return [draws[i : i + batch_size] for i in range(0, length, batch_size)]
