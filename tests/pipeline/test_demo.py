"""The demonstration: the whole way, small; repeated; and without torch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline import demo
from pipeline.frames import read_frame
from tests.pipeline.banks import table


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make everything of the demonstration small."""
    for name, value in {"SCENES": 4, "HEIGHT": 192, "WIDTH": 256, "PHOTOGRAPH": 130, "STEPS": 2}.items():
        monkeypatch.setattr(demo, name, value)
    monkeypatch.setattr(demo, "BANK", {"crops": {"patches": 6, "patch_size": 128}})
    monkeypatch.setitem(demo.TRAINING, "width", 4)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="the model's libraries are not installed")
def test_the_demonstration_ends_in_a_reconstruction_and_goes_on_when_repeated(tmp_path: Path) -> None:
    first = list(demo.make_demo(tmp_path / "demo", workers=1))
    named = [Path(line.split()[1]) for line in first]
    assert [line.split()[0] for line in first] == ["scenes", "bank", "weights", "picture"]
    assert all(path.exists() for path in named)
    assert table(named[1], "patches").num_rows == 24
    reconstruction = read_frame(tmp_path / "demo" / "photograph.exr").pixels
    assert reconstruction.shape == (130, 130, 3)
    picture = cv2.imread(str(named[3]))
    assert picture is not None
    assert picture.shape == (130 + 32, 3 * (130 + 8), 3)
    photograph = cv2.imread(str(tmp_path / "demo" / "photograph.png"))
    np.testing.assert_array_equal(picture[32:, :130], photograph)
    # A second call finds all done.
    weights = named[2].read_bytes()
    assert list(demo.make_demo(tmp_path / "demo", workers=1)) == first
    assert named[2].read_bytes() == weights


def test_without_torch_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "REQUIRED", ("a_module_that_is_not_there",))
    lines = list(demo.make_demo(tmp_path / "demo", workers=1))
    assert lines[-1].endswith("pip install 'hdrprep[model]', then repeat the command")
    assert (tmp_path / "demo" / "patches.zarr").exists()


def test_tone_mapping_keeps_order_and_range() -> None:
    hdr = np.repeat(np.array([[0.0, 0.01, 0.5, 1.0, 4.0, 100.0]], np.float32)[..., None], 3, axis=2)
    shown = demo._tone_map(hdr)[0, :, 0]
    assert shown[0] == 0
    assert shown[-1] == 255
    assert (np.diff(shown.astype(int)) > 0).all()
