"""Which channels of which part are the picture.

Legend: H, W height and width of the data window; a picture is (H, W, 3) float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import OpenEXR
import pytest

from pipeline.errors import SourceError
from pipeline.frames.exr import header, probe_exr, read_exr
from pipeline.records import FloatImage
from tests.pipeline.exr_files import SCANLINES, box, picture, save, subsampled, tiled


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "picture.exr"


def planes(pixels: FloatImage, *names: str) -> dict[str, FloatImage]:
    return {name: pixels[..., c].copy() for c, name in enumerate(names)}


def part(name: str, channels: Any, **header: Any) -> Any:
    return OpenEXR.Part({**SCANLINES, "compression": OpenEXR.ZIP_COMPRESSION, **header}, dict(channels), name)


def assert_picture(path: Path, pixels: FloatImage) -> None:
    np.testing.assert_array_equal(read_exr(path).pixels, pixels)
    assert probe_exr(path) == read_exr(path).facts


# One part


def test_colour_is_found_among_other_channels_of_other_types(path: Path) -> None:
    pixels = picture()
    red, green, blue = (pixels[..., c].copy() for c in range(3))
    other = np.full((37, 53), 1234.0, np.float32)
    channels: dict[str, npt.NDArray[Any]] = {
        "A": other, "B": blue.astype(np.float16), "G": green, "H": other, "R": red.astype(np.float16), "Y": other,
        "Z": other, "id": other.astype(np.uint32), "left.B": other, "left.G": other, "left.R": other,
    }  # fmt: skip
    assert_picture(save(path, channels), pixels)


@pytest.mark.parametrize(
    ("chosen", "others"),
    [
        ("R G B", ["r g b", "beauty.R beauty.G beauty.B"]),
        ("r g b", ["diffuse.R diffuse.G diffuse.B"]),
        ("diffuse.R diffuse.G diffuse.B", []),
        ("diffuse.r diffuse.g diffuse.b", ["normal.X normal.Y normal.Z"]),
        ("diffuse.R diffuse.G diffuse.B", ["specular.R specular.G specular.B", "Y"]),
        ("ViewLayer.Combined.R ViewLayer.Combined.G ViewLayer.Combined.B", ["A.R A.G A.B", "ViewLayer.Env.R"]),
        ("x.BEAUTY.R x.BEAUTY.G x.BEAUTY.B", ["a.R a.G a.B", "combinedshadow.R combinedshadow.G combinedshadow.B"]),
        ("main_rgba.R main_rgba.G main_rgba.B", ["a.R a.G a.B"]),
        ("Y", ["depth.Z", "disparity.x disparity.y"]),
    ],
)
@pytest.mark.parametrize("layout", [SCANLINES, tiled(16, 16)], ids=["scanlines", "tiles"])
def test_the_picture_among_layers(chosen: str, others: list[str], layout: dict[str, Any], path: Path) -> None:
    pixels = picture()
    if len(chosen.split()) == 1:
        pixels[...] = pixels[..., :1]
    channels = planes(pixels, *chosen.split())
    for names in others:
        channels |= planes(picture(seed=1), *names.split())
    assert_picture(save(path, channels, **layout), pixels)


@pytest.mark.parametrize(("views", "chosen"), [(["right", "left"], "right"), (["left", "right"], "left")])
def test_of_layers_the_default_view_is_taken(views: list[str], chosen: str, path: Path) -> None:
    channels: dict[str, FloatImage] = {}
    for seed, view in enumerate(["left", "right"]):
        channels |= planes(picture(seed=seed), *[f"Layer.Combined.{view}.{letter}" for letter in "RGB"])
    assert_picture(save(path, channels, multiView=views), picture(seed=["left", "right"].index(chosen)))


@pytest.mark.parametrize("names", [["Z"], ["R", "G"], ["a.R", "a.G", "b.B"], ["u", "v"], ["X", "Y", "Z"], ["Y", "RY"]])
def test_channels_that_hold_no_picture_are_refused(names: list[str], path: Path) -> None:
    save(path, {name: picture()[..., 0].copy() for name in names})
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError, match="no channels R, G, B or Y, only") as refusal:
            read(path)
        assert all(name in str(refusal.value) for name in names)


def test_the_name_of_a_channel_cannot_write_to_the_terminal(path: Path) -> None:
    with pytest.raises(SourceError) as refusal:
        read_exr(save(path, {"a\n\x1b[31m": picture()[..., 0].copy()}))
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("names", [["R", "G", "B"], ["beauty.R", "beauty.G", "beauty.B"], ["Y"], ["Y", "RY", "BY"]])
def test_whole_numbers_are_refused(names: list[str], path: Path) -> None:
    plane = np.full((8, 8), 100, np.uint32)
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError, match="whole numbers"):
            read(save(path, {name: plane.copy() for name in names}))


def test_a_layer_of_whole_numbers_is_passed_over(path: Path) -> None:
    ids = {name: np.full((37, 53), 100, np.uint32) for name in ("R", "G", "B")}
    assert_picture(save(path, {**ids, **planes(picture(), "beauty.R", "beauty.G", "beauty.B")}), picture())


def test_subsampled_red_green_and_blue_are_refused(path: Path) -> None:
    half = np.ones((4, 4), np.float32)
    with pytest.raises(SourceError, match="subsampled"):
        read_exr(save(path, {name: subsampled(name, half, 8, 8) for name in "RGB"}))


def test_more_channels_than_accepted_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(path, {"RGBA": picture().repeat(2, axis=2)[..., :4].copy()})
    monkeypatch.setattr(header, "MAX_CHANNELS", 3)
    with pytest.raises(SourceError, match="more channels than the 3"):
        read_exr(path)


# Parts


@pytest.mark.parametrize("layout", [SCANLINES, tiled(16, 8)], ids=["scanlines", "tiles"])
def test_the_first_part_with_a_picture_is_read(layout: dict[str, Any], path: Path) -> None:
    depth = part("depth", planes(picture(seed=5), "Z"))
    parts = [depth, part("a", {"RGB": picture()}, **layout), part("b", {"RGB": picture(seed=1)})]
    OpenEXR.File(parts).write(str(path))
    assert_picture(path, picture())


def test_a_part_that_is_called_beauty_comes_first(path: Path) -> None:
    OpenEXR.File([part("albedo", {"RGB": picture(seed=1)}), part("Beauty", {"RGB": picture()})]).write(str(path))
    assert_picture(path, picture())


@pytest.mark.parametrize("views", [["left", "right"], ["right", "left"]])
def test_the_part_of_the_default_view_is_read(views: list[str], path: Path) -> None:
    parts = [
        part(f"rgba_{view}", {"RGB": picture(seed=seed)}, view=view, multiView=views)
        for seed, view in enumerate(["left", "right"])
    ]
    OpenEXR.File(parts).write(str(path))
    assert_picture(path, picture(seed=["left", "right"].index(views[0])))


def test_parts_of_different_sizes_keep_theirs(path: Path) -> None:
    small = {"dataWindow": box(3, 4, 8, 8), "displayWindow": box(0, 0, 52, 36)}
    parts = [part("depth", planes(picture(5, 6), "Z"), **small), part("rgba", {"RGB": picture()})]
    OpenEXR.File(parts).write(str(path))
    assert_picture(path, picture())


def test_the_reason_tells_how_many_parts_hold_no_picture(path: Path) -> None:
    OpenEXR.File([part("a", planes(picture(), "Z")), part("b", planes(picture(), "u", "v"))]).write(str(path))
    for read in (probe_exr, read_exr):
        with pytest.raises(SourceError, match="none of its 2 parts has channels R, G, B or Y, only 'Z, u, v'"):
            read(path)


def test_more_parts_than_accepted_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    OpenEXR.File([part(name, {"RGB": picture()}) for name in "abc"]).write(str(path))
    monkeypatch.setattr(header, "MAX_PARTS", 2)
    with pytest.raises(SourceError, match="more parts than the 2"):
        read_exr(path)


# Public files


@pytest.mark.parametrize("number", [1, 2])
def test_stereo_in_one_part_and_in_many_is_one_picture(number: int, shared_data: Path) -> None:
    # the single part has one window for both eyes, black outside of each eye's own
    single, multi = (
        shared_data / "video" / "beachball" / f"{kind}part.{number:04d}.exr" for kind in ("single", "multi")
    )
    parts = {found.name(): found for found in OpenEXR.File(str(multi), separate_channels=True).parts}
    right = np.stack([parts["rgba_right"].channels[letter].pixels for letter in "RGB"], axis=-1).astype(np.float32)
    assert_picture(multi, right)
    offset = parts["rgba_right"].header["dataWindow"][0] - OpenEXR.File(str(single)).header()["dataWindow"][0]
    both = read_exr(single).pixels
    crop = both[offset[1] : offset[1] + right.shape[0], offset[0] : offset[0] + right.shape[1]]
    np.testing.assert_array_equal(crop, right)
    assert np.count_nonzero(both) == np.count_nonzero(crop)


def test_a_stereo_file_gives_its_default_view(shared_data: Path) -> None:
    path = shared_data / "hdr" / "Adjuster.exr"
    channels = OpenEXR.File(str(path), separate_channels=True).channels()
    assert_picture(path, np.stack([channels[letter].pixels.astype(np.float32) for letter in "RGB"], axis=-1))
