"""An order of training in which every source comes equally often, whatever number of patches it gave."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from model.data import PatchIndex
from model.order import Order
from pipeline.records import derive_seed


@functools.lru_cache(maxsize=4096)
def _permutation(seed: int, visit: int, length: int) -> npt.NDArray[np.int64]:
    return np.random.Generator(np.random.PCG64([seed, visit])).permutation(length)


@dataclass(frozen=True, slots=True)
class BalancedOrder(Order):
    """Patch i of the run comes from source i mod K of permutation i div K of the K sources.

    Visit v to a source of n patches takes its patch v mod n of permutation v div n: within a source, too, each patch
    comes before any comes again. All is a function of (seed, i), so that a run resumes exactly as with Order; an epoch
    remains as many patches as the index has.
    """

    _members: tuple[npt.NDArray[np.int64], ...] = field(repr=False)  # places of each source in the index

    @classmethod
    def over(cls, seed: int, index: PatchIndex) -> BalancedOrder:
        """Return the order of a bank's index."""
        by_source = np.argsort(index.sources, kind="stable")
        starts = np.unique(index.sources[by_source], return_index=True)[1]
        return cls(seed, index, tuple(np.split(by_source, starts[1:])))

    def place(self, i: int) -> int:
        """Return the place in the index of patch number i of the run."""
        visit, position = divmod(i, len(self._members))
        # Streams of their own, or sources of equal length would be read in the same order.
        source = int(
            _permutation(derive_seed(self.seed, "sources", 0, 0, "order"), visit, len(self._members))[position]
        )
        places = self._members[source]
        round_, within = divmod(visit, len(places))
        seed = derive_seed(self.seed, "sources", 0, source, "patches")
        return int(places[_permutation(seed, round_, len(places))[within]])
