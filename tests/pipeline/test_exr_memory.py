"""How much memory a large EXR takes: its frame as float32, and little more.

Measured in a process of its own as the peak of its resident memory, beyond what it has after reading a small file.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest

from pipeline.color import BT2020
from tests.patience import HANGS
from tests.pipeline.exr_files import SCANLINES, luminance_chroma, save, smooth_picture, tiled

SIDE = 4096
FRAME = SIDE * SIDE * 3 * 4  # bytes
MARGIN = 60 * 2**20  # measured: 22 to 42 MB

READ = """
import sys
from pathlib import Path
from pipeline.frames import read_frame

def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])

small, large = map(Path, sys.argv[1:])
read_frame(small)
idle = peak()
frame = read_frame(large)
assert (frame.negative and frame.nonfinite) or large.name != "large.exr"
print(frame.pixels.nbytes, peak() - idle)
"""


def peak_beyond_idle(small: Path, large: Path) -> tuple[int, int]:
    """Return the bytes of a file's frame, and the peak of memory that reading it took."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", READ, str(small), str(large)]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANGS, check=True).stdout
    frame, peak = map(int, told.split())
    return frame, peak


def large_picture() -> np.ndarray[Any, np.dtype[np.float16]]:
    """Every repair has something to do: non-finite pixels, and colours outside of BT.709."""
    block = smooth_picture(256, 256).astype(np.float16)
    block[0, 0], block[1, 1, 2], block[5:9, 5:9] = np.nan, np.inf, (0, 1, 0)
    return np.tile(block, (SIDE // 256, SIDE // 256, 1))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize(
    ("compression", "layout"),
    [
        (OpenEXR.ZIP_COMPRESSION, SCANLINES),
        (OpenEXR.DWAB_COMPRESSION, SCANLINES),
        (OpenEXR.PIZ_COMPRESSION, tiled(256, 256)),
        (OpenEXR.NO_COMPRESSION, tiled(SIDE, 256)),
    ],
    ids=["zip", "dwab", "piz-tiles", "wide-tiles"],
)
def test_a_frame_takes_its_own_memory_and_little_more(compression: Any, layout: dict[str, Any], tmp_path: Path) -> None:
    header = {"compression": compression, "chromaticities": BT2020, "whiteLuminance": 100.0, **layout}
    pixels = large_picture()
    small = save(tmp_path / "small.exr", {"RGB": pixels[:64, :64].copy()}, **header)
    lossy = compression == OpenEXR.DWAB_COMPRESSION  # which keeps no NaN
    large = save(tmp_path / ("lossy.exr" if lossy else "large.exr"), {"RGB": pixels}, **header)
    frame, peak = peak_beyond_idle(small, large)
    assert frame == FRAME
    assert peak < FRAME + MARGIN


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
def test_subsampled_chroma_takes_its_planes_beside_the_frame(tmp_path: Path) -> None:
    tile = smooth_picture(256, 256)
    small = save(tmp_path / "small.exr", luminance_chroma(tile))
    path = tmp_path / "chroma.exr"
    channels = luminance_chroma(np.tile(tile, (SIDE // 256, SIDE // 256, 1)))
    frame, peak = peak_beyond_idle(small, save(path, channels))
    planes = SIDE * SIDE * 4 * 3 // 2
    assert frame == FRAME
    assert peak < FRAME + planes + MARGIN
