"""What was seen of a few frames and some of their candidates, and what that tells of all.

Legend: a unit is one frame with its candidates; there are M units, and m of them are sampled.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf, sqrt
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.rows import Row

Z = 1.96  # of an interval of 95 %


@dataclass(slots=True)
class Seconds:
    """Time on the clock, and of the processor."""

    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Add what the body takes."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - wall
        self.cpu += time.process_time() - cpu

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def __mul__(self, factor: float) -> Seconds:
        return Seconds(self.wall * factor, self.cpu * factor)


@dataclass(frozen=True, slots=True)
class Unit:
    """One frame to work on: `source` is the row of its source, `path` where it lies.

    `rows` are its patches in the bank, None where their windows are still to be drawn. One task decodes `together`
    frames; `following` is the one after this.
    """

    source: Row
    path: Path
    number: int
    candidates: int
    rows: pa.Table | None = None
    following: int | None = None
    together: int = 1


@dataclass(slots=True)
class Observation:
    """What was seen of one unit; `decode` is the time of one frame, the others are sums."""

    unit: Unit
    decode: Seconds
    before: list[Row] = field(default_factory=list)  # as the bank has them
    rows: list[Row] = field(default_factory=list)
    kept: int = 0
    candidates: Seconds = field(default_factory=Seconds)
    exported: int = 0
    export: Seconds = field(default_factory=Seconds)
    stored: int = 0  # bytes of the exported ones in the arrays

    @property
    def share(self) -> float:
        """The share of the sampled candidates that is kept."""
        return self.kept / len(self.rows)


@dataclass(frozen=True, slots=True)
class Sample:
    """What a sample tells of `units` frames with `total` candidates: means a frame, a candidate, an exported patch.

    `growth` is what a candidate adds to the patches table, in bytes; `failures` are reasons by path, of sampled frames
    that cannot be decoded.
    """

    units: int
    total: int
    seen: tuple[Observation, ...]
    growth: float
    failures: dict[str, str]

    @property
    def candidates(self) -> int:
        """Candidates that were sampled."""
        return sum(len(one.rows) for one in self.seen)

    @property
    def decode(self) -> Seconds:
        """The time that decoding a frame takes."""
        return _mean([one.decode for one in self.seen], len(self.seen))

    @property
    def candidate(self) -> Seconds:
        """The time that a candidate takes in all stages before the export."""
        return _mean([one.candidates for one in self.seen], self.candidates)

    @property
    def export(self) -> Seconds:
        """The time that exporting a patch takes."""
        return _mean([one.export for one in self.seen], sum(one.exported for one in self.seen))

    @property
    def stored(self) -> float | None:
        """Bytes of a patch in the arrays; None where none was exported."""
        exported = sum(one.exported for one in self.seen)
        return sum(one.stored for one in self.seen) / exported if exported else None

    @property
    def share(self) -> float:
        """The share of the candidates that is kept."""
        total = sum(one.unit.candidates for one in self.seen)
        return sum(one.share * one.unit.candidates for one in self.seen) / max(1, total)

    def frames_with_kept(self, part: float = 1.0) -> float:
        """Return the expected number of frames of which a patch is exported, where a part of the kept ones is."""
        shares = [1 - (1 - one.share * part) ** one.unit.candidates for one in self.seen]
        return self.units * sum(shares) / max(1, len(shares))

    def interval(self) -> tuple[float, float]:
        """Return the interval of 95 % of the share that is kept.

        Wilson's, of the number of independent draws that would vary as much as frames and candidates together.
        """
        share, draws = self.share, self._independent_draws()
        if draws == inf:
            return share, share
        middle = (share + Z * Z / (2 * draws)) / (1 + Z * Z / draws)
        reach = Z / (1 + Z * Z / draws) * sqrt(share * (1 - share) / draws + Z * Z / (4 * draws * draws))
        return max(0.0, middle - reach), min(1.0, middle + reach)

    def _independent_draws(self) -> float:
        if self.candidates == self.total:
            return inf
        units = len(self.seen)
        if units < self.units and (units < 2 or self.share in {0.0, 1.0}):
            return float(max(1, units))  # how much frames differ is not known
        variance = self._variance()
        if variance == 0.0:
            return float(self.candidates)
        draws = self.share * (1 - self.share) / variance
        if units < self.units:
            draws *= (Z / _student(units - 1)) ** 2  # the variance of few frames is itself a guess
        return min(max(1.0, draws), float(self.candidates))

    def _variance(self) -> float:
        """Return the variance of the share, of units and of candidates within them (Cochran 1977, Eq. 10.15)."""
        m, M = len(self.seen), self.units
        between = float(np.var([one.share for one in self.seen], ddof=1)) if m > 1 else 0.0
        within = sum(
            (1 - len(one.rows) / one.unit.candidates) * one.share * (1 - one.share) / max(1, len(one.rows) - 1)
            for one in self.seen
        )
        return (1 - m / M) * between / m + within / (m * M)


def _student(freedom: int) -> float:
    """Return what Z is where the variance comes from so few draws (Abramowitz and Stegun 1964, Eq. 26.7.5)."""
    first, second = (Z**3 + Z) / 4, (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96
    return Z + first / freedom + second / freedom**2


def _mean(parts: Sequence[Seconds], count: int) -> Seconds:
    return sum(parts, Seconds()) * (1 / max(1, count))
