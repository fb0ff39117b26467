"""Damaged stills: a reason or a whole picture, never a crash, a hang or half a picture.

A byte that is changed within uncompressed samples, or within the coded data of JPEG and AVIF, cannot be noticed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.patience import HANGS
from tests.pipeline.still_damage import CUTS

ROOT = Path(__file__).parents[2]
GOOD = 9

Outcome = dict[str, Any]


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    """What became of each damaged file, read by a process of its own; the time limit is for one that hangs."""
    command = [sys.executable, "-m", "tests.pipeline.still_damage", str(tmp_path_factory.mktemp("damage"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=HANGS, check=False
    )
    last = (done.stdout.splitlines() or ["nothing"])[-1]
    assert done.returncode == 0, f"it ended with {done.returncode} after {last}: {done.stderr[-500:]}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def files(family: list[Outcome]) -> list[Outcome]:
    return [outcome for outcome in family if "file" in outcome]


def digests(family: list[Outcome]) -> dict[str, str]:
    return {outcome["file"]: outcome["digest"] for outcome in files(family) if outcome["damage"] == "none"}


def test_no_damage_crashes_hangs_or_takes_memory(family: list[Outcome]) -> None:
    assert len(files(family)) > 600
    assert len(digests(family)) == GOOD
    assert family[-1].get("peak", 0) < 400_000  # kilobytes; some headers ask for gigabytes


def test_every_damage_gives_one_sentence_or_a_whole_picture(family: list[Outcome]) -> None:
    for outcome in files(family):
        assert outcome.get("shape_is_right", True), outcome
        assert outcome.get("reason", "x").isprintable(), outcome
        assert ("reason" in outcome) != ("digest" in outcome)


def test_no_truncated_picture_is_taken_for_a_whole_one(family: list[Outcome]) -> None:
    cuts = [outcome for outcome in files(family) if outcome["damage"].startswith("cut")]
    assert len(cuts) == CUTS * GOOD
    assert [outcome for outcome in cuts if "digest" in outcome] == []


def test_a_file_whose_checksum_fails_is_never_accepted(family: list[Outcome]) -> None:
    good = digests(family)
    flips = [outcome for outcome in files(family) if outcome["damage"].startswith("flip")]
    for outcome in flips:
        if outcome["file"] == "pq.png":
            assert outcome.get("digest", good["pq.png"]) == good["pq.png"], outcome
