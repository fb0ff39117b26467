"""A timed sample of the work: a few frames, some candidates of each, put through the stages' own functions.

It runs in this process and on one core, as a worker works, and writes nothing.
A unit is one frame with its candidates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Literal

import numpy as np
from tqdm import tqdm

from pipeline import work
from pipeline.bank.arrays import new_layouts, to_half
from pipeline.bank.schema import encode_table
from pipeline.camera import CameraSettings, Distribution, draw_camera, render, resolve_exposure
from pipeline.config import Settings
from pipeline.errors import describe
from pipeline.observation import Observation, Sample, Seconds, Unit
from pipeline.records import FloatImage, Frame, Recipe, Window, derive_seed, generator
from pipeline.rows import Row, patch_table, score_rows, simulate_rows, window_rows
from pipeline.score import score_patch

# The limits of a sample. Yields differ more between sources than within one: rather many frames than many candidates.
UNITS = 24
CANDIDATES = 72  # of all units together
# Whichever is spent first, no unit and no candidate is begun afterwards. Of the processor, so that a busy machine takes
# the same sample; on the clock, for sources that are slow to come.
CPU_SECONDS, WALL_SECONDS = 20.0, 60.0
BATCH = 8  # patches that are encoded together

Stage = Literal["window", "simulate", "score", "export"]


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
    compile_loops(settings)
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


def compile_loops(settings: Settings) -> None:
    """Take a patch of light and dark once: what is compiled at its first call is no cost of a candidate."""
    frame = np.ones((32, 32, 3), np.float32)
    frame[8:24, 8:24] = 8.0
    camera = replace(draw_camera(CameraSettings(noise_sigma=Distribution(constant=0.01)), 0, "", 0, 0), exposure=1.0)
    resolve_exposure(frame, camera.clip_fraction)
    score_patch(*render(frame, Recipe(Window(0, 0, 32, 32, 32, flip=True), camera)), settings.score)


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
    stores = new_layouts(settings.crops.patch_size, settings.export)
    for start in range(0, len(kept), BATCH):
        if seen.exported and spent():
            break
        batch = kept[start : start + BATCH]
        with seen.export.measured():
            for row in batch:
                truth, ldr = render(pixels, Recipe.from_row(row))
                stored = [*stores[0].encode(to_half(truth)[0]), *stores[1].encode(ldr)]
                seen.stored += sum(map(len, stored))
        seen.exported += len(batch)


def _row_bytes(rows: Sequence[Row]) -> float:
    """Return the bytes that a row takes in a table, over what any table takes."""
    if not rows:
        return 0.0
    some = len(rows) // 2
    return (_table_bytes(rows) - _table_bytes(rows[:some])) / (len(rows) - some)


def _table_bytes(rows: Sequence[Row]) -> int:
    return len(encode_table(patch_table(rows)))


def _pixels(unit: Unit) -> int:
    return int(unit.source["width"]) * int(unit.source["height"])


def _seed(seed: int, unit: Unit) -> int:
    return derive_seed(seed, unit.source["source_id"], unit.number, 0, "plan")
