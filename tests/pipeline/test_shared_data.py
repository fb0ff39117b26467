"""The main job on real HDR images of many makers; skipped where they are not at hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pyarrow.compute as pc

from pipeline.frames import READABLE, read_frame
from tests.pipeline.banks import array, table
from tests.pipeline.conftest import Result

# What this version cannot use of them, and a word of the reason that it gives.
REJECTED = {
    "Garden.exr": "smaller than a patch",
    "Rec709.exr": "smaller than a patch",
    "StageEnvLatLong.exr": "smaller than a patch",
    "XYZ.exr": "smaller than a patch",
    "Trunks.exr": "deep EXR",
}


def test_every_real_image_contributes_or_is_listed_with_a_reason(
    shared_data: Path, hdrprep: Callable[..., Result], tmp_path: Path
) -> None:
    bank = tmp_path / "patches.zarr"
    result = hdrprep("run", shared_data / "hdr", "--patches", "2", "--bank", bank)
    assert result.status == 3
    assert "Traceback" not in result.err
    files = {path for path in (shared_data / "hdr").rglob("*") if path.suffix.lower() in READABLE}
    sources = {Path(row["path"]): row for row in table(bank, "sources").to_pylist()}
    assert set(sources) == {path.absolute() for path in files}
    rejected = {path.name: row["reason"] for path, row in sources.items() if row["status"] == "rejected"}
    assert set(rejected) == set(REJECTED)
    for name, word in REJECTED.items():
        assert word in rejected[name]
    patches = table(bank, "patches")
    assert patches.num_rows == 2 * (len(files) - len(REJECTED))
    assert np.isfinite(patches["score"].to_numpy()).all()
    # The camera clips 5 to 15 % of the values, so no patch is without saturated content.
    assert set(patches["verdict"].to_pylist()) == {"kept", "smooth"}
    hdr, ldr = array(bank, "hdr"), array(bank, "ldr")
    assert np.isfinite(hdr).all()
    synthetic = next(row["source_id"] for path, row in sources.items() if path.name == "BrightRingsNanInf.exr")
    for patch in patches.filter(pc.is_valid(patches["row"])).to_pylist():
        clipped = (hdr[patch["row"]] >= 1.0).mean()
        # A drawing of few different values clips all of those that share the quantile.
        assert 0.04 < clipped < (1.0 if patch["source_id"] == synthetic else 0.17)
        assert ldr[patch["row"]].max() == 255
    for name in ("Desk.exr", "blender_courtyard.exr", "BrightRingsNanInf.exr"):
        path, row = next((path, row) for path, row in sources.items() if path.name == name)
        pixels = read_independently(path)
        finite = np.isfinite(pixels)
        assert row["nonfinite_pixels"] == np.count_nonzero((~finite).any(axis=2))
        assert row["negative_pixels"] == np.count_nonzero(((pixels < 0) & finite).any(axis=2))
        assert row["nonfinite_pixels"] + row["negative_pixels"] > 0


def read_independently(path: Path) -> np.ndarray[Any, Any]:
    """Read an RGB(A) EXR with OpenEXR's own bindings, where ours is OpenImageIO."""
    channels = OpenEXR.File(str(path), separate_channels=True).channels()
    return np.stack([channels[name].pixels.astype(np.float32) for name in "RGB"], axis=2)


def listed_statistics(folder: Path) -> dict[str, tuple[int, int, list[float]]]:
    """Return width, height and luminance (median, 99.9 %, maximum) by file, as another reader measured them."""
    listed = {}
    for line in (folder / "SOURCES.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        size = re.fullmatch(r"(\d+)x(\d+)", cells[2]) if len(cells) > 4 else None
        if size is not None:
            listed[cells[0]] = (int(size[1]), int(size[2]), [float(value) for value in cells[3].split(" / ")[1:]])
    return listed


def test_every_real_image_is_read_as_another_reader_measured_it(shared_data: Path) -> None:
    listed = listed_statistics(shared_data / "hdr")
    assert len(listed) == 34  # the deep file has no picture
    # Measured on the stored channels, which are no BT.709; its picture is compared with Rec709.exr's elsewhere.
    listed.pop("edge/XYZ.exr")
    for name, (width, height, expected) in listed.items():
        pixels = read_frame(shared_data / "hdr" / name).pixels
        assert pixels.shape == (height, width, 3), name
        luminance = pixels @ np.array([0.2126, 0.7152, 0.0722], np.float32)
        found = [np.median(luminance), np.percentile(luminance, 99.9), luminance.max()]
        # Chroma of a luminance-chroma file may be interpolated in more ways than one.
        tolerance = 0.02 if name == "Flowers.exr" else 0.006
        np.testing.assert_allclose(found, expected, rtol=tolerance, err_msg=name)


def test_every_real_video_is_what_it_is_said_to_be(
    shared_data: Path, hdrprep: Callable[..., Result], tmp_path: Path
) -> None:
    bank = tmp_path / "patches.zarr"
    result = hdrprep("ingest", shared_data / "video", "--patches", "1", "--bank", bank)
    assert result.status == 3
    rows = {Path(row["path"]).name: row for row in table(bank, "sources").to_pylist()}
    columns = ("kind", "width", "height", "frames", "frames_used", "transfer", "primaries", "scale")
    known = {
        "hdr10-video-with-sdr-container.mp4": ("video", 1920, 1080, 28, 3, "pq", "bt2020", "cd/m2"),
        "hlg10-color-test.mp4": ("video", 1920, 1080, 9, 1, "hlg", "bt2020", "HLG scene"),
        "hall_pan_pq_prores.mov": ("video", 896, 512, 12, 2, "pq", "bt2020", "cd/m2"),
        "hall_pan_pq_av1.mkv": ("video", 896, 512, 12, 2, "pq", "bt2020", "cd/m2"),
        "hall_pan_hlg_hevc.mp4": ("video", 896, 512, 12, 2, "hlg", "bt2020", "HLG scene"),
        "hdr10.1001-1012.exr": ("sequence", 1280, 720, 12, 2, "linear", None, "cd/m2"),
    }
    for name, values in known.items():
        assert tuple(rows[name][column] for column in columns) == values, name
    assert "--transfer" in rows["roadtrip-vp92-10bit.webm"]["reason"]
    assert "8-bit SDR" in rows["video_dovi_1920x1080_60fps_dvav_09.mp4"]["reason"]
    # Frames whose data window moves are no sequence; the first part of the other files is their picture.
    assert {row["kind"] for name, row in rows.items() if "part." in name} == {"still"}
    assert len(rows) == len(known) + 2 + 6
