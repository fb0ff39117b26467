"""LDR in, HDR out: any size, any kind of 8- or 16-bit file, one sentence about what is neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from model.checkpoint import load_network
from model.color import well_exposed_mask
from model.reconstruct import main, reconstruct
from model.unet import MaskedUNet, compose
from pipeline.records import FloatImage
from tests.model.test_pictures import photograph, write

CPU = torch.device("cpu")


def read_exr(file: Path) -> FloatImage:
    image = oiio.ImageInput.open(str(file))
    assert image is not None
    assert tuple(image.spec().channelnames) == ("R", "G", "B")
    assert str(image.spec().format) == "half"
    assert image.spec().getattribute("compression") == "zip"
    return np.asarray(image.read_image("float"), dtype=np.float32)


@pytest.fixture
def network(weights: Path) -> MaskedUNet:
    return load_network(weights)


@pytest.mark.parametrize("size", [(128, 256), (1, 1), (5, 300), (129, 127), (200, 10)])
def test_any_size_comes_back_as_it_was(network: MaskedUNet, size: tuple[int, int]) -> None:
    T = photograph(*size)
    radiance = reconstruct(T, network, CPU)
    assert radiance.shape == T.shape
    assert radiance.dtype == np.float32
    well = T <= 0.96
    np.testing.assert_allclose(radiance[well], T[well] ** 2, rtol=1e-6)  # Eq. 1 where M = 1


def test_a_picture_that_fits_is_not_padded(network: MaskedUNet) -> None:
    T = photograph(128, 256)
    T_ = torch.from_numpy(T).permute(2, 0, 1)[None]
    M = well_exposed_mask(T_)
    with torch.no_grad():
        expected = compose(T_, network(T_, M), M)[0].permute(1, 2, 0)
    np.testing.assert_allclose(reconstruct(T, network, CPU), expected, rtol=1e-4, atol=1e-5)


def test_padding_is_the_pictures_own_reflection(network: MaskedUNet) -> None:
    T = photograph(100, 120)
    whole = np.pad(T, ((0, 28), (0, 8), (0, 0)), mode="symmetric")
    np.testing.assert_array_equal(reconstruct(T, network, CPU), reconstruct(whole, network, CPU)[:100, :120])


def test_the_network_fills_what_is_saturated(network: MaskedUNet) -> None:
    T = np.ones((128, 128, 3), np.float32)
    bias = network.head.bias
    assert bias is not None
    bias.data.fill_(2.0)
    assert reconstruct(T, network, CPU).mean() > 1.0
    bias.data.fill_(-5.0)
    assert reconstruct(T, network, CPU).min() == 0.0  # and not exp(-5) - 1
    bias.data.fill_(1e9)
    assert reconstruct(T, network, CPU).max() == 65_504.0


def test_command_writes_exr_and_preview(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], network: MaskedUNet
) -> None:
    photo = write(tmp_path / "photo.png", np.rint(photograph(40, 60) * 255).astype(np.uint8))
    out = tmp_path / "new" / "out"
    assert main([str(photo), "--weights", str(weights), "--out", str(out), "--preview", "--device", "cpu"]) == 0
    assert capsys.readouterr() == (f"{out / 'photo.exr'}\n", "")
    assert sorted(p.name for p in out.iterdir()) == ["photo.exr", "photo_preview.png"]
    T = np.rint(photograph(40, 60) * 255).astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(read_exr(out / "photo.exr"), reconstruct(T, network, CPU).astype(np.float16))
    preview = oiio.ImageInput.open(str(out / "photo_preview.png"))
    assert preview is not None
    assert (preview.spec().height, preview.spec().width, preview.spec().nchannels) == (40, 60, 3)


def test_a_folder_gives_its_pictures(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("b.jpg", "a.PNG"):
        write(folder / name, np.zeros((4, 4, 3), np.uint8))
    (folder / "notes.txt").write_text("")
    assert main([str(folder), "--weights", str(weights), "--out", str(tmp_path / "out")]) == 0
    assert [Path(line).name for line in capsys.readouterr().out.splitlines()] == ["a.exr", "b.exr"]


def test_one_bad_picture_stops_no_other(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad, good = tmp_path / "bad.png", write(tmp_path / "good.png", np.zeros((4, 4, 3), np.uint8))
    bad.write_bytes(b"not a picture")
    names = [str(bad), str(tmp_path / "none.jpg"), str(good)]
    assert main([*names, "--weights", str(weights), "--out", str(tmp_path / "out")]) == 1
    stdout, stderr = capsys.readouterr()
    assert stdout == f"{tmp_path / 'out' / 'good.exr'}\n"
    first, second = stderr.splitlines()
    assert first.startswith(f"Error: {bad}: it cannot be read (")
    assert second == f"Error: {tmp_path / 'none.jpg'}: there is no such file"


def test_two_inputs_of_one_name_do_not_overwrite_each_other(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = write(tmp_path / "x.png", np.zeros((4, 4, 3), np.uint8))
    two = write(tmp_path / "x.jpg", np.zeros((4, 4, 3), np.uint8))
    assert main([str(one), str(two), "--weights", str(weights), "--out", str(tmp_path / "out")]) == 1
    result = tmp_path / "out" / "x.exr"
    sentence = f"Error: {two}: {result}, its result, would replace {one} or its result: rename one of them\n"
    assert capsys.readouterr() == (f"{result}\n", sentence)


@pytest.mark.parametrize("name", ["photo.png", "photo_preview.png", "photo.exr"])
def test_a_result_never_replaces_an_input(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    photo = write(tmp_path / "photo.png", np.full((4, 4, 3), 77, np.uint8))
    other = write(tmp_path / name, np.full((4, 4, 3), 78, np.uint8)) if name.endswith("png") else tmp_path / name
    other.touch()
    before = other.read_bytes()
    command = ["--weights", str(weights), "--out", str(tmp_path), "--preview"]
    assert main([str(photo), *([str(other)] if other != photo else []), *command]) == (other != photo)
    assert other.read_bytes() == before
    assert (other == photo) or f"would replace {other}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "status", "sentence"),
    [
        (lambda _: None, 2, "there are no weights at"),
        (lambda file: file.write_bytes(b"hello"), 1, "is not a readable safetensors file"),
        (lambda file: file.mkdir(), 1, "is not a readable safetensors file"),
    ],
)
def test_weights_that_cannot_be_used(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: object,
    status: int,
    sentence: str,
) -> None:
    file = tmp_path / "weights"
    assert callable(make)
    make(file)
    assert main(["x.png", "--weights", str(file), "--out", str(tmp_path / "out")]) == status
    stdout, stderr = capsys.readouterr()
    assert (stdout, stderr.count("\n")) == ("", 1)
    assert sentence in stderr
    assert not (tmp_path / "out").exists()


def test_weights_that_overflow_are_told(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = load_file(weights)
    for name in tensors:
        tensors[name].fill_(1e30)
    with safe_open(weights, framework="pt") as opened:
        save_file(tensors, tmp_path / "huge", opened.metadata())
    photo = write(tmp_path / "photo.png", np.full((4, 4, 3), 255, np.uint8))
    assert main([str(photo), "--weights", str(tmp_path / "huge"), "--out", str(tmp_path)]) in (0, 1)
    assert "Traceback" not in capsys.readouterr().err


def test_a_command_that_cannot_be(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for command in ([], ["x.png"], [str(tmp_path / "empty"), "--weights", str(weights), "--out", str(tmp_path)]):
        assert main(command) == 2
        assert capsys.readouterr().err.count("\n") == 1
