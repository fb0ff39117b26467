"""A timed sample of the work: a few frames, some candidates of each, put through the stages' own functions.

It runs in this process and on one core, as a worker works, and writes nothing.
Legend: a unit is one frame with its candidates; there are M units, and m of them are sampled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from math import inf, sqrt
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from pipeline import work
from pipeline.bank.arrays import stored_bytes, to_half
from pipeline.bank.schema import encode_table
from pipeline.camera import render
from pipeline.config import Settings
from pipeline.errors import describe
from pipeline.records import FloatImage, Frame, Recipe, derive_seed, generator
from pipeline.rows import Row, patch_table, score_rows, simulate_rows, window_rows

# The limits of a sample. Yields differ more between sources than within one: rather many frames than many candidates.
UNITS = 24
CANDIDATES = 72  # of all units together
# Whichever is spent first, no unit and no candidate is begun afterwards. Of the processor, so that a busy machine takes
# the same sample; on the clock, for sources that are slow to come.
CPU_SECONDS, WALL_SECONDS = 20.0, 60.0
BATCH = 8  # patches that are encoded together
Z = 1.96  # of an interval of 95 %

Stage = Literal["window", "simulate", "score", "export"]


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


class _Budget:
    """What a sample may cost."""

    def __init__(self, part: float) -> None:
        self._cpu, self._wall = CPU_SECONDS * part, WALL_SECONDS * part
        self._start = time.process_time(), time.perf_counter()

    @property
    def used(self) -> float:
        """The share that is spent."""
        cpu, wall = time.process_time() - self._start[0], time.perf_counter() - self._start[1]
        return max(cpu / self._cpu, wall / self._wall)

    def is_beyond(self, share: float) -> bool:
        """Say whether more than a share is spent."""
        return self.used > share


def measure(units: Sequence[Unit], stages: Sequence[Stage], settings: Settings, part: float = 1.0) -> Sample:
    """Put a sample of the units through stages; `part` of the limits of a sample may be used."""
    work.single_threaded()
    chosen = choose(units, max(1, round(UNITS * part)), settings.ingest.seed)
    most = -(-round(CANDIDATES * part) // max(1, len(chosen)))
    budget = _Budget(part)
    seen: list[Observation] = []
    failures: dict[str, str] = {}
    for position, unit in enumerate(tqdm(chosen, "sample", unit=" frames", disable=None, leave=False)):
        used = budget.used
        if used > 1 and seen:
            break
        # A unit takes its share of what is left, or up to a quarter, so that no source is all of the sample.
        until = used + (1 - used) / min(4, len(chosen) - position)
        try:
            seen.append(_observe(unit, stages, settings, min(most, unit.candidates), partial(budget.is_beyond, until)))
        except Exception as error:  # as in a worker: one source stops nothing
            failures[str(unit.source["path"])] = describe(error)
    after, before = [row for one in seen for row in one.rows], [row for one in seen for row in one.before]
    growth = _row_bytes(after) - _row_bytes(before)
    return Sample(len(units), sum(unit.candidates for unit in units), tuple(seen), growth, failures)


def choose(units: Sequence[Unit], most: int, seed: int) -> list[Unit]:
    """Choose units, a seeded one of each of `most` classes of size, in a seeded order: any first ones are spread."""
    ordered = sorted(units, key=lambda unit: (_pixels(unit), _seed(seed, unit)))
    bounds = np.linspace(0, len(ordered), min(most, len(ordered)) + 1).astype(int).tolist()
    rng = generator(derive_seed(seed, "", 0, 0, "plan"))
    picked = [ordered[int(rng.integers(low, high))] for low, high in pairwise(bounds)]
    return [picked[index] for index in rng.permutation(len(picked)).tolist()]


def _observe(
    unit: Unit, stages: Sequence[Stage], settings: Settings, count: int, spent: Callable[[], bool]
) -> Observation:
    frame, decode = _decode(unit)
    seen = Observation(unit, decode)
    before = [] if unit.rows is None else unit.rows.slice(0, count).to_pylist()
    rows = before
    if unit.rows is None:
        fewer = settings.model_copy(update={"crops": settings.crops.model_copy(update={"patches": count})})
        with seen.candidates.measured():
            rows = window_rows(unit.source["source_id"], unit.number, frame, fewer)
    for row in rows:
        if seen.rows and spent():
            break
        with seen.candidates.measured():
            seen.rows.append(_work(frame.pixels, row, stages, settings))
    # A patch that only is to be exported is written whatever a later threshold made of it.
    kept = [row for row in seen.rows if "score" not in stages or row["verdict"] == "kept"]
    seen.kept = len(kept)
    seen.before = before[: len(seen.rows)]
    if "export" in stages:
        _export(seen, frame.pixels, kept, settings, spent)
    return seen


def _decode(unit: Unit) -> tuple[Frame, Seconds]:
    """Return a unit's frame, and the time that one frame takes where a task decodes several."""
    wanted = [unit.number] if unit.following is None else [unit.number, unit.following]
    decoder = work.decode(unit.path, wanted, unit.source["transfer"])
    first, next_one = Seconds(), Seconds()
    with first.measured():
        _, frame = next(decoder)
    if unit.following is None:
        return frame, first
    with next_one.measured():
        next(decoder)  # of a video, the way to the first frame is longer than that to each further one
    return frame, (first + next_one * (unit.together - 1)) * (1 / unit.together)


def _work(pixels: FloatImage, row: Row, stages: Sequence[Stage], settings: Settings) -> Row:
    rows = [row]
    if "simulate" in stages:
        rows = simulate_rows(pixels, rows, settings)
    if "score" in stages:
        rows = score_rows(pixels, rows, settings)
    return rows[0]


def _export(
    seen: Observation, pixels: FloatImage, kept: Sequence[Row], settings: Settings, spent: Callable[[], bool]
) -> None:
    for start in range(0, len(kept), BATCH):
        if seen.exported and spent():
            break
        batch = kept[start : start + BATCH]
        with seen.export.measured():
            pairs = [render(pixels, Recipe.from_row(row)) for row in batch]
            hdr, ldr = np.stack([to_half(truth)[0] for truth, _ in pairs]), np.stack([ldr for _, ldr in pairs])
            seen.stored += stored_bytes(hdr, ldr, settings.export)
        seen.exported += len(batch)


def _student(freedom: int) -> float:
    """Return what Z is where the variance comes from so few draws (Abramowitz and Stegun 1964, Eq. 26.7.5)."""
    first, second = (Z**3 + Z) / 4, (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96
    return Z + first / freedom + second / freedom**2


def _row_bytes(rows: Sequence[Row]) -> float:
    """Return the bytes that a row takes in a table, over what any table takes."""
    if not rows:
        return 0.0
    some = len(rows) // 2
    return (_table_bytes(rows) - _table_bytes(rows[:some])) / (len(rows) - some)


def _table_bytes(rows: Sequence[Row]) -> int:
    return len(encode_table(patch_table(rows)))


def _mean(parts: Sequence[Seconds], count: int) -> Seconds:
    return sum(parts, Seconds()) * (1 / max(1, count))


def _pixels(unit: Unit) -> int:
    return int(unit.source["width"]) * int(unit.source["height"])


def _seed(seed: int, unit: Unit) -> int:
    return derive_seed(seed, unit.source["source_id"], unit.number, 0, "plan")
