"""The main job on real HDR images of many makers; skipped where they are not at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pyarrow.compute as pc

from pipeline.frames import READABLE
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
