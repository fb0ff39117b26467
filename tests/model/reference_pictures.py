"""The pictures of `metric_reference.json`: closed forms, and the authors' crops."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from model.comparison import linearise
from model.metrics.pair import LUMINANCE
from model.pictures import read_ldr
from pipeline.frames import read_frame

Picture = npt.NDArray[np.float64]  # (H, W, C)
EXPECTED: dict[str, Any] = json.loads((Path(__file__).parent / "metric_reference.json").read_text())
CROPS = sorted(EXPECTED["hdr_vdp_2"]["crops"])


def waves(height: int, width: int) -> tuple[Picture, Picture]:
    """Test and reference picture of the synthetic cases, in cd/m2: the test one is clipped and has a pattern on it."""
    x, y = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    x, y, k = x[..., None], y[..., None], np.arange(1, 4)
    coarse = 1.5 * np.sin(2 * np.pi * (2 * x + 0.3 * k)) * np.cos(6 * np.pi * y)
    fine = 0.4 * np.sin(2 * np.pi * (17 * x + 11 * y + 0.1 * k))
    R = 100 * 10 ** (coarse + fine)
    return np.minimum(R, 300) * (1 + 0.05 * np.sin(2 * np.pi * (23 * x - 19 * y))), R


def curves(reference: Picture) -> Picture:
    """The test picture B: another response curve for each channel."""
    test: Picture = 40 * (np.minimum(reference, 400) / 100) ** (0.6 + 0.1 * np.arange(1, 4))
    return test


def grey(rgb: Picture) -> Picture:
    """Luminance (H, W, 1)."""
    Y: Picture = rgb @ np.array(LUMINANCE)
    return Y[..., None]


def crop(shared_data: Path, name: str) -> tuple[Picture, Picture]:
    """Test and reference picture of a crop, not scaled; skips where the files are not those of the reference values."""
    files = {kind: shared_data / "authors" / f"{name}.{kind}" for kind in ("png", "exr")}
    for kind, file in files.items():
        if not file.exists() or _digest(file) != EXPECTED["hdr_vdp_2"]["crops"][name][f"sha256_{kind}"]:
            pytest.skip(f"{file} is not the crop that the reference values are of")
    return linearise(read_ldr(files["png"]), 2.0).astype(np.float64), read_frame(files["exr"]).pixels.astype(np.float64)


def scaled_crop(shared_data: Path, name: str) -> tuple[Picture, Picture]:
    """The same in cd/m2, floored."""
    k = EXPECTED["hdr_vdp_2"]["crops"][name]["k"]
    test, reference = (np.maximum(image * k, 1e-5) for image in crop(shared_data, name))
    return test, reference


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
