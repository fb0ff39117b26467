"""A folder in which most files are damaged: the run ends, the good ones are done, every other one has its reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.scenes import render_scene, write_exr, write_hdr
from tests.pipeline import exr_damage, still_damage
from tests.pipeline.banks import table
from tests.pipeline.conftest import Result
from tests.pipeline.video_files import Spec, moving_pictures, write_video

TRUNCATIONS = 20


def truncated(content: bytes) -> list[bytes]:
    """Cut a file at places all over it, its last byte included."""
    ends = np.linspace(0, len(content) - 1, TRUNCATIONS).astype(int).tolist()
    return [content[:end] for end in ends]


def damaged_copies(folder: Path, good: Path) -> int:
    """Write truncated copies of a file, and ones with flipped bytes or lying sizes where there is a family of them."""
    content = good.read_bytes()
    copies = truncated(content)
    if good.suffix == ".exr":
        copies += [changed for _, changed in list(exr_damage.damaged(good, seed=1))[::6]]
    elif good.suffix in {".tif", ".png", ".jxl"}:
        copies += [changed for _, changed in list(still_damage.damaged(good, seed=1))[::6]]
    for number, changed in enumerate(copies):
        (folder / f"{good.stem}_{number:03d}{good.suffix}").write_bytes(changed)
    return len(copies)


def good_files(folder: Path) -> list[Path]:
    """Write one good file of each format that a folder is searched for."""
    scene = render_scene("lamps", 1, 96, 128)
    write_exr(folder / "good.exr", scene)
    write_hdr(folder / "good.hdr", scene)
    rows = scene[::-1].astype("<f4").tobytes()
    (folder / "good.pfm").write_bytes(b"PF\n128 96\n-1.0\n" + rows)
    write_video(folder / "good.mkv", moving_pictures(12, 64, 96), Spec())
    return sorted(folder.iterdir())


def test_the_good_files_of_a_damaged_folder_are_done_and_all_others_listed(
    hdrprep: Callable[..., Result], tmp_path: Path
) -> None:
    folder, bank = tmp_path / "in", tmp_path / "bank.zarr"
    for name in ("good", "bad"):
        (folder / name).mkdir(parents=True)
    good = good_files(folder / "good")
    originals = tmp_path / "originals"
    originals.mkdir()
    searched = [path for path in still_damage.good_files(originals) if path.suffix in {".tif", ".jxl", ".avif"}]
    count = sum(damaged_copies(folder / "bad", path) for path in [*good, *searched])
    assert count >= 200
    for path in searched:
        good.append(path.rename(folder / "good" / path.name))
    small = ("--patch-size", "32", "--patches", "2")
    result = hdrprep("ingest", folder, "--bank", bank, "--no-sequences", *small)
    assert result.status == 3
    assert "Traceback" not in result.err
    rows = table(bank, "sources").to_pylist()
    by_path = {Path(path): row for row in rows for path in [row["path"], *row["also_at"]]}
    assert len(by_path) == count + len(good)
    assert {by_path[path]["status"] for path in good} == {"ok"}
    for row in rows:
        assert row["status"] == "ok" or (row["reason"] and "\n" not in row["reason"])
    # Nothing that was cut short is taken for a picture, but where only padding behind the last pixel is gone.
    bad = [path for path in by_path if path.parent.name == "bad" and int(path.stem[-3:]) < TRUNCATIONS]
    assert {path.name for path in bad if by_path[path]["status"] == "ok"} == set()
