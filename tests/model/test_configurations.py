"""Every file in configs/ is read by the commands that it names, and says what it says it does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from model.config import resolve
from model.train import parse

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "configs").rglob("*.yaml"))
MASKING = {"sconv": "none", "gconv": "gated", "imask": "input", "fmask": "feature"}


def trainings(file: Path) -> list[list[str]]:
    """Return the arguments of each training command in a file's head."""
    head = "".join(line for line in file.read_text().splitlines(keepends=True) if line.startswith("#"))
    return [shlex.split(command) for command in re.findall(r"python -m model\.train (.*)", head)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_is_read_by_its_own_commands(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert file.read_text().startswith("# Purpose:")
    for word in ("# Purpose:", "# Source:", "# Cost:", "# Command:"):
        assert word in file.read_text()
    found = trainings(file)
    assert found
    for command in found:
        options = parse(command)
        assert options.config == file.relative_to(ROOT)
        resolve(options.config, options.set, {"stage": options.stage}, None)


@pytest.mark.parametrize("file", [f for f in FILES if f.parent.name == "table2"], ids=lambda file: file.stem)
def test_a_row_of_table_2_is_two_stages_that_fit(file: Path) -> None:
    masking, _, before = file.stem.partition("-")
    first, second = (parse(command) for command in trainings(file))
    assert (first.stage, second.stage) == ("inpainting" if before == "inpainting" else "hdr-pretraining", "hdr")
    assert Path(second.init).parent == first.out
    assert first.photos
    stages = [resolve(file, options.set, {"stage": options.stage}, None) for options in (first, second)]
    assert [stage.plateau_patience for stage in stages] == [None, 10]  # the rate is halved in the second stage alone
    assert {stage.masking for stage in stages} == {MASKING[masking]}
    assert stages[0].architecture() == stages[1].architecture()


def test_all_rows_of_table_2_are_there() -> None:
    rows = {f"{masking}-{before}" for masking in MASKING for before in ("hdr", "inpainting")}
    assert {file.stem for file in FILES if file.parent.name == "table2"} == rows


def test_the_ablations_differ_in_what_they_say() -> None:
    folder = ROOT / "configs" / "ablations"
    off, on = (yaml.safe_load((folder / f"patch-sampling-{word}.yaml").read_text()) for word in ("off", "on"))
    assert (off["score"].pop("threshold"), on["score"].pop("threshold")) == (0.0, 0.85)
    assert off == on
    assert not resolve(folder / "l1.yaml", [], {}, None).perceptual()
    assert resolve(folder / "patch-sampling-on.yaml", [], {}, None).perceptual()
