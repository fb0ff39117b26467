"""The sample: spread over the sizes, bounded, an interval that holds what it promises, bytes as they are stored."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline import sample
from pipeline.config import resolve
from pipeline.frames import read_frame
from pipeline.observation import Unit
from pipeline.rows import Row, score_rows, simulate_rows, window_rows
from pipeline.sample import choose, measure
from pipeline.scenes import render_scene, write_exr

SMALL = resolve([{"crops": {"patch_size": 64, "patches": 200}, "export": {"compression": "none"}}])


def unit(size: int, number: int = 0, candidates: int = 250, path: Path | None = None) -> Unit:
    source: Row = {"source_id": f"{size:08x}", "path": str(path), "transfer": "linear", "width": size, "height": 100}
    return Unit(source, path or Path("no.exr"), number, candidates)


def test_the_choice_takes_one_of_each_class_of_size() -> None:
    units = [unit(size) for size in np.random.default_rng(3).permutation(1000) + 1]
    chosen = choose(units, 10, 0)
    assert sorted((one.source["width"] - 1) // 100 for one in chosen) == list(range(10))
    # Wherever the time ends, both halves were visited.
    assert {one.source["width"] > 500 for one in chosen[:5]} == {True, False}


def test_the_choice_depends_on_the_seed_alone() -> None:
    units = [unit(7, number) for number in range(100)]
    names = [one.number for one in choose(units, 10, 0)]
    assert [one.number for one in choose(units[::-1], 10, 0)] == names
    assert [one.number for one in choose(units, 10, 1)] != names
    assert sorted(one.number for one in choose(units[:6], 10, 0)) == list(range(6))


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    write_exr(tmp_path / "scene.exr", render_scene("textured_highlights", 1, 160, 200))
    return tmp_path / "scene.exr"


def test_a_sample_keeps_to_its_limits(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = [unit(200, number=0, candidates=200, path=scene) for _ in range(50)]
    monkeypatch.setattr(sample, "UNITS", 5)
    monkeypatch.setattr(sample, "CANDIDATES", 12)
    taken = measure(units, ("window",), SMALL)
    assert len(taken.seen) == 5
    assert taken.candidates == 5 * 3
    assert (taken.units, taken.total) == (50, 50 * 200)
    assert len(measure(units, ("window",), SMALL, part=0.4).seen) == 2
    for limit in ("CPU_SECONDS", "WALL_SECONDS"):
        with monkeypatch.context() as patch:
            patch.setattr(sample, limit, 1e-6)
            late = measure(units, ("window", "simulate", "score", "export"), SMALL)
        assert (len(late.seen), late.candidates) == (1, 1)


def test_the_candidates_of_a_sample_are_those_of_the_run(scene: Path) -> None:
    stages: tuple[sample.Stage, ...] = ("window", "simulate", "score", "export")
    (one,) = measure([unit(200, candidates=200, path=scene)], stages, SMALL).seen
    frame = read_frame(scene)
    rows = window_rows("000000c8", 0, frame, SMALL)[: len(one.rows)]
    assert one.rows == score_rows(frame.pixels, simulate_rows(frame.pixels, rows, SMALL), SMALL)
    assert len(one.rows) == sample.CANDIDATES
    assert one.exported == one.kept > 0
    assert one.stored == pytest.approx(one.kept * 64 * 64 * 9, rel=0.01)
    assert min(one.decode.wall, one.candidates.wall, one.export.wall) > 0


def test_a_frame_that_cannot_be_decoded_is_a_failure(scene: Path, tmp_path: Path) -> None:
    (tmp_path / "short.exr").write_bytes(scene.read_bytes()[:-5000])
    taken = measure([unit(200, path=path) for path in (scene, tmp_path / "short.exr")], ("window",), SMALL)
    assert len(taken.seen) == 1
    assert list(taken.failures) == [str(tmp_path / "short.exr")]
    assert "truncated" in taken.failures[str(tmp_path / "short.exr")]


SPECIALISED = """
import sys
from pathlib import Path
from pipeline import detail, noise, sample, score, sensor
from pipeline.frames import read_frame
from tests.pipeline.test_sample import SMALL
from pipeline.rows import score_rows, simulate_rows, window_rows

def signatures():
    made = [value for module in (detail, noise, score, sensor) for value in vars(module).values()]
    return {value.__name__: len(value.signatures) for value in made if hasattr(value, "signatures")}

sample.compile_loops(SMALL)
before = signatures()
frame = read_frame(Path(sys.argv[1]))
rows = window_rows("a" * 64, 0, frame, SMALL)[:8]
score_rows(frame.pixels, simulate_rows(frame.pixels, rows, SMALL), SMALL)
assert before == signatures(), (before, signatures())
assert len(before) > 10
"""


def test_compilation_is_no_cost_of_a_candidate(scene: Path) -> None:
    # In a process of its own: in this one, other tests have compiled everything.
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", SPECIALISED, str(scene)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
