"""LDR in, HDR out: any size, any kind of 8- or 16-bit file, one sentence about what is neither."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import OpenImageIO as oiio
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from model.card import Card
from model.checkpoint import load_network
from model.color import well_exposed_mask
from model.published import digest
from model.reconstruct import load_weights, main, reconstruct, reconstruct_picture
from model.unet import Architecture, MaskedUNet, compose
from model.video import read_frames
from model.weights import write_weights
from pipeline.frames import probe
from pipeline.records import FloatImage
from tests.model.literal import published_weights
from tests.model.test_exif import exif, jpeg_file
from tests.model.test_pictures import photograph, write
from tests.model.test_video import short_video
from tests.pipeline.video_files import Spec, moving_pictures, write_video

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
    assert sorted(p.name for p in out.iterdir()) == ["photo.exr", "photo_exposures.png", "photo_preview.png"]
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


def test_words_in_latin_1_stop_no_other(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        write(folder / name, np.zeros((8, 8, 3), np.uint8))
    data = exif()
    data[0x013B] = "Jos\u00e9".encode("latin-1")
    data.get_ifd(0x8769)[0x8832] = 3_000_000_000  # RecommendedExposureIndex, a LONG
    jpeg_file(folder / "b.jpg", data)
    assert run(weights, tmp_path / "out", folder) == 0
    stdout, stderr = capsys.readouterr()
    assert ([Path(line).name for line in stdout.splitlines()], stderr) == (["a.exr", "b.exr", "c.exr"], "")


def test_two_inputs_of_one_name_do_not_overwrite_each_other(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = write(tmp_path / "x.png", np.zeros((4, 4, 3), np.uint8))
    two = write(tmp_path / "x.jpg", np.zeros((4, 4, 3), np.uint8))
    out = tmp_path / "out"
    assert main([str(one), str(two), "--weights", str(weights), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out / 'x.png.exr'}\n{out / 'x.jpg.exr'}\n"
    (tmp_path / "other").mkdir()
    three = write(tmp_path / "other" / "x.png", np.zeros((4, 4, 3), np.uint8))
    assert main([str(one), str(three), "--weights", str(weights), "--out", str(out)]) == 1
    sentence = (
        f"Error: {three}: {out / 'x.png.exr'}, its result, would replace {one} or its result: rename one of them\n"
    )
    assert capsys.readouterr() == (f"{out / 'x.png.exr'}\n", sentence)


@pytest.mark.parametrize("name", ["photo.png", "photo_preview.png", "photo_exposures.png"])
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


def weights_of(value: float, like: Path, file: Path) -> Path:
    """Weights that are all alike."""
    with safe_open(like, framework="pt") as opened:
        save_file({k: torch.full_like(v, value) for k, v in load_file(like).items()}, file, opened.metadata())
    return file


def test_an_infinite_prediction_is_the_largest_radiance(tmp_path: Path, weights: Path) -> None:
    photo = write(tmp_path / "photo.png", np.full((4, 4, 3), 255, np.uint8))
    assert run(weights_of(1e30, weights, tmp_path / "huge"), tmp_path, photo) == 0
    np.testing.assert_array_equal(read_exr(tmp_path / "photo.exr"), 65_504.0)


def test_weights_that_make_no_numbers_are_told(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo, out = write(tmp_path / "photo.png", np.full((4, 4, 3), 100, np.uint8)), tmp_path / "out"
    assert run(weights_of(-1e30, weights, tmp_path / "huge"), out, photo) == 1
    sentence = f"Error: {photo}: the network made numbers that are not finite: use other weights\n"
    assert capsys.readouterr() == ("", sentence)
    assert list(out.iterdir()) == []


def test_a_command_that_cannot_be(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for command in ([], ["x.png"], [str(tmp_path / "empty"), "--weights", str(weights), "--out", str(tmp_path)]):
        assert main(command) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_that_takes_nothing_is_told_before_a_picture_is_made(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("model.reconstruct.reconstruct", never)
    monkeypatch.setattr("os.access", lambda path, _: path != tmp_path / "out")  # root may do anything
    photo = write(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))
    assert run(weights, tmp_path / "out", photo) == 2
    assert capsys.readouterr().err == (
        f"Error: --out {tmp_path / 'out'}: nothing may be written there: name another folder\n"
    )


def run(weights: Path, out: Path, *words: str | Path) -> int:
    return main([*map(str, words), "--weights", str(weights), "--out", str(out), "--device", "cpu"])


def test_the_wide_world_of_pictures(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    (folder / "trip").mkdir(parents=True)
    write(folder / "one.png", np.full((1, 1, 3), 255, np.uint8))
    write(folder / "grey.tif", np.full((3, 130, 1), 60_000, np.uint16))
    write(folder / "turned.jpg", np.full((16, 8, 3), 250, np.uint8), Orientation=6, Make="Acme", ExposureTime=0.004)
    write(folder / "trip" / "alpha.png", np.full((9, 9, 4), 200, np.uint8))
    cut = write(folder / "trip" / "cut.jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    cut.write_bytes(cut.read_bytes()[:-800])
    write(folder / "trip" / "float.tif", np.ones((4, 4, 3), np.float16))
    (folder / "notes.txt").write_text("not a picture")
    out = tmp_path / "out"
    assert run(weights, out, folder, "--preview", "--masks") == 1
    stdout, stderr = capsys.readouterr()
    done = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.exr"))
    assert done == ["grey.exr", "one.exr", "trip/alpha.exr", "turned.exr"]
    assert sorted(stdout.split()) == sorted(str(out / name) for name in done)
    told = stderr.splitlines()
    assert told[0] == f"{folder}: 1 file of other types ignored"
    assert [line.split(": ")[1] for line in told[1:]] == [str(cut), str(folder / "trip" / "float.tif")]
    for name, size in {"one": (1, 1), "grey": (3, 130), "trip/alpha": (9, 9), "turned": (8, 16)}.items():
        radiance = read_exr(out / f"{name}.exr")
        assert radiance.shape[:2] == size
        assert np.isfinite(radiance).all()
        assert radiance.min() >= 0
        for ending in ("_preview.png", "_exposures.png", "_masks.png"):
            assert (out / f"{name}{ending}").exists()
    opened = oiio.ImageInput.open(str(out / "turned.exr"))
    assert opened is not None
    spec = opened.spec()
    assert (spec.getattribute("Make"), spec.getattribute("Orientation")) == ("Acme", None)
    assert spec.getattribute("ExposureTime") == pytest.approx(0.004)
    assert spec.getattribute("hdrprep:weights_sha256") == digest(weights)


def test_a_video_becomes_a_sequence_that_the_pipeline_reads(tmp_path: Path, weights: Path, network: MaskedUNet) -> None:
    video = short_video(tmp_path / "clip.mkv", count=3)
    out = tmp_path / "out"
    assert run(weights, out, video) == 0
    assert sorted(path.name for path in (out / "clip").iterdir()) == [f"clip.000{i}.exr" for i in (1, 2, 3)]
    assert probe(out / "clip" / "clip.0001-0003.exr").frames == 3
    for number, T in read_frames(video, iter(range(3))):
        found = read_exr(out / "clip" / f"clip.000{number + 1}.exr")
        np.testing.assert_array_equal(found, reconstruct(T, network, CPU).astype(np.float16))


def test_existing_results_are_replaced_or_skipped(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    totals = []

    def plain(things: Iterable[object], unit: str, total: int | None = None, **_: object) -> Iterable[object]:
        totals.extend([total] * (unit == "frame"))
        return things

    monkeypatch.setattr("model.reconstruct.bar", plain)
    photo, video = write(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8)), short_video(tmp_path / "b.mkv", count=3)
    out = tmp_path / "out"
    assert run(weights, out, photo, video) == 0
    (out / "b" / "b.0002.exr").unlink()
    (out / "a.exr").write_bytes(b"old")
    capsys.readouterr()
    assert run(weights, out, photo, video, "--skip-existing") == 0
    assert capsys.readouterr().out == f"{out / 'b' / 'b.0002.exr'}\n"
    assert totals == [3, 1]  # what is to be done, or the bar of a video that goes on would never fill
    assert run(weights, out, photo) == 0
    assert read_exr(out / "a.exr").shape == (4, 4, 3)


@pytest.mark.parametrize("first", ["video", "photo"])
def test_a_photograph_and_a_frame_do_not_replace_each_other(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str], first: str
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    (folder / "clip").mkdir(parents=True)
    video = short_video(folder / "clip.mkv", count=2)
    write(folder / "clip" / "clip.0002.png", np.zeros((4, 4, 3), np.uint8))
    write(folder / "clip" / "other.png", np.zeros((4, 4, 3), np.uint8))  # nobody's frame
    assert run(weights, out, *([folder] if first == "photo" else [video, folder])) == 1
    done = [Path(line).relative_to(out).as_posix() for line in capsys.readouterr().out.splitlines()]
    frames = ["clip/clip.0001.exr", "clip/clip.0002.exr"]
    assert done == ([*frames, "clip/other.exr"] if first == "video" else [frames[1], "clip/other.exr"])
    assert read_exr(out / "clip" / "clip.0002.exr").shape[:2] == ((4, 4) if first == "photo" else (24, 40))


def test_hdr_video_is_refused_and_the_rest_done(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = write_video(tmp_path / "pq.mkv", moving_pictures(1), Spec())
    assert run(weights, tmp_path / "out", video, write(tmp_path / "z.png", np.zeros((4, 4, 3), np.uint8))) == 1
    stdout, stderr = capsys.readouterr()
    assert stdout == f"{tmp_path / 'out' / 'z.exr'}\n"
    assert stderr == f"Error: {video}: it is HDR already (PQ): a picture for ordinary displays is asked for\n"


def test_the_tile_option_is_taken_and_checked(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = write(tmp_path / "a.png", np.rint(photograph(300, 400) * 255).astype(np.uint8))
    found = []
    for tile in ("none", "128", "auto"):
        assert run(weights, tmp_path / tile, photo, "--tile", tile) == 0
        found.append(read_exr(tmp_path / tile / "a.exr"))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=2**-10, atol=1e-5)
    capsys.readouterr()
    for tile in ("100", "0", "-128", "many"):
        assert run(weights, tmp_path / "no", photo, f"--tile={tile}") == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "no").exists()


def test_weights_of_inpainting_alone_are_refused(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with safe_open(weights, framework="pt") as opened:
        save_file(load_file(weights), tmp_path / "inpainting", opened.metadata() | {"stage": "inpainting"})
    assert run(tmp_path / "inpainting", tmp_path / "out", "x.png") == 1
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1
    assert "its output is no radiance" in stderr


def test_the_authors_file_needs_no_further_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"model": published_weights(width=2)}, tmp_path / "authors.pth")
    read, hashed = Mock(wraps=torch.load), Mock(wraps=hashlib.file_digest)
    monkeypatch.setattr("torch.load", read)
    monkeypatch.setattr("hashlib.file_digest", hashed)
    photo = write(tmp_path / "a.png", np.rint(photograph(20, 30) * 255).astype(np.uint8))
    assert run(tmp_path / "authors.pth", tmp_path, photo) == 0
    assert (read.call_count, hashed.call_count) == (1, 1)  # of a file of 200 MB
    opened = oiio.ImageInput.open(str(tmp_path / "a.exr"))
    assert opened is not None
    assert opened.spec().getattribute("hdrprep:weights_sha256") == digest(tmp_path / "authors.pth")
    network = load_network(tmp_path / "authors.pth")
    assert network.architecture.alpha == 0.95
    expected = reconstruct(np.rint(photograph(20, 30) * 255).astype(np.float32) / np.float32(255), network, CPU)
    np.testing.assert_array_equal(read_exr(tmp_path / "a.exr"), expected.astype(np.float16))


def test_masks_of_a_network_without_any_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = MaskedUNet(Architecture(width=1, masking="none"))
    write_weights(tmp_path / "w", network, Card(architecture=network.architecture.model_dump()))
    assert run(tmp_path / "w", tmp_path, "x.png", "--masks") == 2
    assert "--masks: a network of masking none" in capsys.readouterr().err


def test_ctrl_c_ends_with_130_and_leaves_nothing_half_written(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def interrupted(path: Path) -> None:
        written.append(read_exr(path).shape)
        raise KeyboardInterrupt

    out = tmp_path / "out"
    out.mkdir()
    (out / "b.exr").write_bytes(b"old")
    monkeypatch.setattr("pipeline.bank.files._sync", interrupted)  # the file is filled, and not yet in its place
    for name in ("a.png", "b.png"):
        photo = write(tmp_path / name, np.zeros((4, 4, 3), np.uint8))
        assert run(weights, out, photo) == 130
    assert written == [(4, 4, 3), (4, 4, 3)]
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"b.exr": b"old"}


def test_out_of_memory_says_what_helps(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("model.reconstruct.reconstruct", full)
    assert run(weights, tmp_path / "out", write(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))) == 1
    assert "out of memory: choose tiles, --tile 1024 or fewer pixels" in capsys.readouterr().err


def test_the_quick_start_of_the_documentation_runs(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "reconstruction.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    assert len([line for line in code[1].splitlines() if line.strip()]) <= 5
    write(tmp_path / "photo.jpg", np.full((20, 30, 3), 250, np.uint8))
    (tmp_path / "weights.safetensors").write_bytes(weights.read_bytes())
    monkeypatch.chdir(tmp_path)
    exec(compile(code[1], "quick start", "exec"), {})  # noqa: S102 - our own
    assert read_exr(tmp_path / "photo.exr").shape == (20, 30, 3)
    assert capsys.readouterr().out.startswith("(20, 30, 3)")


def test_from_python_a_picture_need_not_be_written(tmp_path: Path, weights: Path) -> None:
    photo = write(tmp_path / "a.png", np.full((4, 5, 3), 100, np.uint8))
    radiance = reconstruct_picture(photo, load_weights(weights, "cpu"))
    np.testing.assert_allclose(radiance, (100 / 255) ** 2, rtol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]
