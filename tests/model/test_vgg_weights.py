"""Files of VGG's weights: which are taken, which are refused, how they are scaled, how they are downloaded."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from model.errors import VggError
from model.vgg import Depth, Vgg
from model.vgg_weights import (
    PUBLISHED,
    Published,
    cache_folder,
    download,
    fingerprint,
    load_vgg,
    mean_features,
    reference_picture,
)
from tests.model.test_vgg import random_vgg

WITHOUT = "--set train.perceptual_weight=0"


def tensors(depth: Depth = 19) -> dict[str, Tensor]:
    return dict(random_vgg(depth).state_dict())


def saved(tmp_path: Path, content: object, name: str = "vgg.pth", *, legacy: bool = False) -> Path:
    file = tmp_path / name
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)
    return file


def published(file: Path, url: str = "http://127.0.0.1:9/vgg19-00000000.pth") -> Published:
    """Say that torchvision published this file."""
    return Published(url, hashlib.sha256(file.read_bytes()).hexdigest())


# Files


@pytest.mark.parametrize("depth", [16, 19])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_every_kind_of_file_is_read(tmp_path: Path, depth: Depth, kind: str) -> None:
    content = tensors(depth)
    file = tmp_path / "weights"  # a name that says nothing
    if kind == "safetensors":
        save_file(content, file)
    else:
        saved(tmp_path, content, file.name, legacy=kind == "legacy")
    vgg = load_vgg(depth, file, None)
    assert all(torch.equal(tensor, content[name]) for name, tensor in vgg.state_dict().items())


def test_later_layers_and_the_classifier_may_be_there(tmp_path: Path) -> None:
    later = {"features.19.weight": torch.zeros(512, 256, 3, 3), "classifier.6.bias": torch.zeros(1000)}
    assert load_vgg(19, saved(tmp_path, tensors() | later), None).depth == 19


def test_half_floats_are_taken_as_float32(tmp_path: Path) -> None:
    vgg = load_vgg(19, saved(tmp_path, {name: t.half() for name, t in tensors().items()}), None)
    assert {p.dtype for p in vgg.parameters()} == {torch.float32}


class Malice:
    """Code in a pickle."""

    ran: ClassVar[Path]

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.ran),)


def test_a_pickle_that_holds_code_is_refused_and_not_run(tmp_path: Path) -> None:
    Malice.ran = tmp_path / "ran"
    for legacy in (False, True):
        file = saved(tmp_path, tensors() | {"features.0.weight": Malice()}, legacy=legacy)
        with pytest.raises(VggError, match=r"vgg\.pth holds code or is no file of weights, and was not run; name a"):
            load_vgg(19, file, None)
    assert not Malice.ran.exists()


def without(name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors().items() if key != name}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (without("features.16.bias"), "lacks features.16.bias, of which VGG-19 needs (256,)"),
        (tensors(16), "lacks features.16.weight"),
        (tensors() | {"features.5.weight": torch.zeros(128, 64, 5, 5)}, "features.5.weight is float32 (128, 64, 5, 5)"),
        (tensors() | {"features.0.bias": torch.zeros(64, dtype=torch.int64)}, "features.0.bias is int64 (64,)"),
        (tensors() | {"features.0.bias": torch.full((64,), torch.nan)}, "features.0.bias holds numbers that are not"),
        (tensors() | {"features.1.weight": torch.zeros(64)}, "has features.1.weight, which is not of VGG-19"),
        (tensors() | {"encoder.weight": torch.zeros(1)}, "has encoder.weight"),
        (tensors() | {"features.0.bias": 3.0}, "lacks features.0.bias"),
        ([1, 2, 3], "holds no tensors by name"),
        ({name: torch.zeros_like(t) for name, t in tensors().items()}, "its features are 0 / 0 / 0 on average"),
    ],
)
def test_what_is_not_vgg_is_refused_in_one_sentence(tmp_path: Path, content: object, sentence: str) -> None:
    with pytest.raises(VggError) as caught:
        load_vgg(19, saved(tmp_path, content), None)
    message = str(caught.value)
    assert sentence in message
    assert str(tmp_path / "vgg.pth") in message
    assert "--vgg" in message
    assert WITHOUT in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "content", [b"", b"no weights", b"PK\x03\x04 cut off", b"\x10" + bytes(7) + b"{ not JSON ....."]
)
def test_damage_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "vgg.pth"
    file.write_bytes(content)
    with pytest.raises(VggError, match=WITHOUT) as caught:
        load_vgg(19, file, None)
    assert "\n" not in str(caught.value)


def test_half_a_file_is_one_sentence(tmp_path: Path) -> None:
    for legacy in (False, True):
        file = saved(tmp_path, tensors(), legacy=legacy)
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        with pytest.raises(VggError, match=WITHOUT):
            load_vgg(19, file, None)


@pytest.mark.parametrize("name", ["none.pth", "."])
def test_no_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(VggError, match=r"cannot read .* \((No such file|Is a directory)") as caught:
        load_vgg(19, tmp_path / name, None)
    assert WITHOUT in str(caught.value)


# Scale


def test_features_of_torchvisions_file_keep_their_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = saved(tmp_path, tensors())
    assert load_vgg(19, file, None, published(file)).scale.tolist() == [1.0, 1.0, 1.0]
    told = capsys.readouterr().err
    assert f"VGG-19 from {file} (torchvision's): mean features after pool1 / 2 / 3 on the reference picture " in told
    assert told.endswith("scaled by 1 / 1 / 1\n")


def test_features_of_another_file_get_a_mean_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vgg = load_vgg(19, saved(tmp_path, tensors()), None)
    assert [float(phi.mean()) for phi in vgg(reference_picture())] == pytest.approx([1.0, 1.0, 1.0], rel=1e-5)
    means = mean_features(random_vgg(19))
    assert mean_features(vgg) == pytest.approx(means, rel=1e-5)  # of the file, whatever the scale
    assert vgg.scale.tolist() == pytest.approx([1 / mean for mean in means], rel=1e-5)
    assert "(not torchvision's file)" in capsys.readouterr().err


def test_the_size_of_the_weights_does_not_matter_to_the_scaled_features(tmp_path: Path) -> None:
    # Weights times 3 in the first layer, without biases, make all features three times as large.
    content = {name: t * (0.0 if name.endswith("bias") else 1.0) for name, t in tensors().items()}
    larger = content | {"features.0.weight": 3.0 * content["features.0.weight"]}
    plain, scaled = (load_vgg(19, saved(tmp_path, c), None) for c in (content, larger))
    # Features are sums of large terms of both signs: where they cancel, rounding in float32 shows.
    X = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    for a, b in zip(plain.double()(X), scaled.double()(X), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plain.scale, 3.0 * scaled.scale)


def test_a_scale_that_is_asked_for_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = saved(tmp_path, tensors())
    for published_as in (published(file), None):
        assert load_vgg(19, file, (2.0, 0.5, 4.0), published_as).scale.tolist() == [2.0, 0.5, 4.0]
        assert capsys.readouterr().err.endswith("scaled by 2 / 0.5 / 4\n")


def test_the_reference_picture_is_a_fixed_picture() -> None:
    X = reference_picture()
    assert (X.shape, X.dtype) == ((1, 3, 128, 128), torch.float32)
    assert X.min() >= 0.0
    assert X.max() <= 1.0
    assert torch.equal(X, reference_picture())
    # Were it another one, scales would not be those of other runs.
    assert X[0, :, 64, 64].tolist() == pytest.approx([0.37993, 0.41827, 0.28875], abs=1e-4)


def test_the_fingerprint_knows_weights_scale_and_depth() -> None:
    vggs = [random_vgg(19), random_vgg(19, seed=1), random_vgg(16), random_vgg(19)]
    vggs[3].scale[1] = 2.0
    assert len({fingerprint(vgg) for vgg in vggs}) == 4
    assert fingerprint(vggs[0]) == fingerprint(random_vgg(19))


# Downloads


class Server(HTTPServer):
    """Serves one content, and counts."""

    content: bytes = b""
    status: int = 200
    requests: int = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of a file, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def offered(server: Server, content: bytes) -> Published:
    server.content = content
    url = f"http://127.0.0.1:{server.server_port}/models/vgg19-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    return Published(url, hashlib.sha256(content).hexdigest())


def test_names_carry_their_hash() -> None:
    for depth, entry in PUBLISHED.items():
        assert entry.name == f"vgg{depth}-{entry.sha256[:8]}.pth"
        assert entry.url == f"https://download.pytorch.org/models/{entry.name}"
        assert len(entry.sha256) == 64


def test_a_file_is_downloaded_once(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = offered(server, saved(tmp_path, tensors(), legacy=True).read_bytes())
    first = load_vgg(19, None, None, entry)
    assert fingerprint(load_vgg(19, None, None, entry)) == fingerprint(first)
    assert first.scale.tolist() == [1.0, 1.0, 1.0]
    assert server.requests == 1
    assert [path.name for path in (tmp_path / "cache" / "hdrprep").iterdir()] == [entry.name]
    assert capsys.readouterr().err.count(f"Downloading {entry.url}") == 1


def test_another_content_is_refused_and_not_kept(server: Server) -> None:
    entry = Published(offered(server, b"other").url, "0" * 64)
    with pytest.raises(VggError, match="is not the file that torchvision published; name a file"):
        download(entry)
    assert not list(cache_folder().iterdir())


def test_a_damaged_cache_says_what_to_delete(server: Server) -> None:
    entry = offered(server, b"content")
    file = download(entry)
    file.write_bytes(b"damage")
    with pytest.raises(VggError, match=r"delete it to download it again"):
        download(entry)


def test_without_network_one_sentence_names_both_remedies(server: Server) -> None:
    entry = offered(server, b"content")
    server.status = 404
    for url in (entry.url, "http://127.0.0.1:9/vgg19.pth", "http://[not-an-address/vgg19.pth"):
        with pytest.raises(VggError, match=r"the weights of VGG cannot be downloaded from") as caught:
            download(Published(url, entry.sha256))
        message = str(caught.value)
        assert "--vgg" in message
        assert WITHOUT in message
        assert "\n" not in message
    assert not [path for path in cache_folder().rglob("*") if path.is_file()]


def test_the_cache_lies_where_the_system_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hdrprep"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "hdrprep"


def test_vgg_stays_frozen_after_loading(tmp_path: Path) -> None:
    vgg: Vgg = load_vgg(19, saved(tmp_path, tensors()), None)
    assert not any(parameter.requires_grad for parameter in vgg.parameters())
