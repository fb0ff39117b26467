"""The authors' checkpoint: a synthetic one becomes the same network; what is no such checkpoint is one sentence."""

from __future__ import annotations

import io
import os
import random
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from model.checkpoint import load_network, main
from model.errors import CheckpointError
from model.published import digest, read_published
from model.unet import Architecture
from tests.model.literal import published_forward, published_weights
from tests.model.test_unet import photograph

Edit = Callable[[dict[str, Any]], object]
FIRST = "enc_1.conv.input_conv.weight"


def save(file: Path, content: Any) -> Path:
    torch.save(content, file)
    return file


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A checkpoint of the published form, with what a training run keeps beside its weights."""
    return save(tmp_path / "checkpoint.pth", {"model": published_weights(4), "n_iter": 3, "optimizer": {"state": {}}})


@pytest.mark.parametrize("prefix", ["", "module."])
def test_imported_weights_make_the_published_forward_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prefix: str
) -> None:
    tensors = published_weights(4)
    file = save(tmp_path / "checkpoint.pth", {"model": {f"{prefix}{name}": t for name, t in tensors.items()}})
    out = tmp_path / "new" / "weights.safetensors"
    assert main(["import", str(file), "--out", str(out)]) == 0
    network = load_network(out)
    count = sum(tensor.numel() for name, tensor in tensors.items() if "mask" not in name)
    assert capsys.readouterr() == (f"weights: {out}\nparameters: {count}\nmask tensors differ by: 0\n", "")
    assert network.architecture == Architecture(preset="official", width=4, alpha=0.95)
    T, M = photograph(128, 256)
    with torch.no_grad():
        found, expected = network(T, M), published_forward(tensors, T, M)
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    with safe_open(out, framework="pt") as opened:
        assert opened.metadata()["imported_sha256"] == digest(file)


def test_there_are_as_many_tensors_and_parameters_as_published() -> None:
    tensors = published_weights(64)
    assert len(tensors) == 29
    assert sum(tensor.numel() for name, tensor in tensors.items() if "mask" not in name) == 25_770_964


def test_mask_tensors_may_lag_by_a_step(tmp_path: Path) -> None:
    tensors = published_weights(1)
    tensors["enc_2.conv.mask_update_conv.weight"] += 2e-4
    assert read_published(save(tmp_path / "file", {"model": tensors}))[1] == pytest.approx(2e-4, rel=1e-2)


def drop(name: str) -> Edit:
    return lambda tensors: tensors.pop(name)


def put(name: str, change: Callable[[Tensor], object]) -> Edit:
    return lambda tensors: tensors.update({name: change(tensors[name])})


def add(name: str) -> Edit:
    return lambda tensors: tensors.update({name: torch.zeros(1)})


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (drop("dec_1.conv.input_conv.bias"), "is for another network: it lacks dec_1.conv.input_conv.bias"),
        (drop("enc_3.conv.mask_update_conv.weight"), "it lacks enc_3.conv.mask_update_conv.weight"),
        (drop(FIRST), f"it lacks {FIRST}"),
        (add("enc_8.conv.input_conv.weight"), "it has an unknown tensor enc_8.conv.input_conv.weight"),
        (add("enc_1.bn.running_mean"), "it has an unknown tensor enc_1.bn.running_mean"),
        (add(f"module.{FIRST}"), "names a tensor twice, with and without module."),
        (put(FIRST, lambda w: w[:, :2]), f"{FIRST} is float32 (4, 2, 7, 7) instead of float32 (4, 3, 7, 7)"),
        (put(FIRST, lambda w: w[:2]), "instead of float32 ("),
        (put(FIRST, torch.Tensor.double), f"{FIRST} is float64 (4, 3, 7, 7) instead of float32"),
        (put(FIRST, torch.Tensor.to_sparse), f"{FIRST} is sparse"),
        (put(FIRST, lambda w: w.fill_(torch.nan)), f"{FIRST} holds numbers that are not finite"),
        (put(FIRST, lambda _: 3), f"{FIRST} is no tensor"),
        (put("enc_4.conv.mask_update_conv.weight", lambda w: w * 1.5), "is not the magnitude of enc_4"),
        (put("enc_4.conv.input_conv.weight", lambda w: w.flip(0)), "is not the magnitude of enc_4"),
    ],
)
def test_another_network_is_one_sentence(tmp_path: Path, edit: Edit, sentence: str) -> None:
    tensors: dict[str, Any] = {**published_weights(4)}
    edit(tensors)
    assert sentence in refusal(save(tmp_path / "file", {"model": tensors}))


@pytest.mark.parametrize("content", [{}, [], {"model": 3}, {"model": {3: torch.zeros(1)}}, torch.zeros(3), "model"])
def test_what_holds_no_weights_is_one_sentence(tmp_path: Path, content: object) -> None:
    assert "holds no weights under `model`" in refusal(save(tmp_path / "file", content))


class Code:
    """Leaves a folder when it is unpickled, as any program could be run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    file, trace = tmp_path / "file", tmp_path / "trace"
    content = {"model": published_weights(1), "args": Code(trace)}
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    assert "holds code or objects beside tensors, none of which was run" in refusal(file)
    assert not trace.exists()
    torch.load(file, weights_only=False)  # the file is what it seems
    assert trace.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_one_sentence(checkpoint: Path, share: float) -> None:
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(share * len(content))])
    assert "no checkpoint that torch can read, or it was cut off" in refusal(checkpoint)


@pytest.mark.parametrize("content", [b"hello", b"\x80\x02}q\x00.", b"\xff" * 100, b"PK\x03\x04" + bytes(50)])
def test_what_is_no_torch_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    refusal(file)


def test_a_folder_or_nothing_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        assert "cannot be read" in refusal(path)


def test_any_other_zip_is_one_sentence(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "file", "w") as opened:
        opened.writestr("notes.txt", "hello")
    refusal(tmp_path / "file")


def test_damage_is_one_sentence_or_goes_unseen(tmp_path: Path) -> None:
    """Whatever bit is another one, nothing but the one sentence is raised. The old format has no checksums."""
    buffer = io.BytesIO()
    torch.save({"model": published_weights(1)}, buffer, _use_new_zipfile_serialization=False)
    content, chance = buffer.getvalue(), random.Random(0)  # noqa: S311
    for _ in range(100):
        damaged = bytearray(content)
        damaged[chance.randrange(6000)] ^= 1 << chance.randrange(8)
        (tmp_path / "file").write_bytes(damaged)
        with suppress(CheckpointError):
            network, _ = read_published(tmp_path / "file")
            assert all(p.isfinite().all() for p in network.parameters())


def refusal(file: Path) -> str:
    """Return the one sentence about a file that is refused."""
    with pytest.raises(CheckpointError) as caught:
        read_published(file)
    sentence = str(caught.value)
    assert sentence.startswith(str(file))
    assert sentence.endswith("name the checkpoint that the authors published")
    assert "\n" not in sentence
    return sentence


def test_the_command_says_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str], checkpoint: Path) -> None:
    out = str(tmp_path / "out")
    (tmp_path / "bad").write_bytes(b"hello")
    for command, status, sentence in (
        ([], 2, "(see --help)"),
        (["import", str(checkpoint)], 2, "--out"),
        (["import", str(checkpoint), "--out", str(checkpoint)], 2, "would replace the checkpoint itself"),
        (["import", str(tmp_path / "bad"), "--out", out], 1, "bad is no checkpoint that torch can read"),
        (["import", str(checkpoint), "--out", str(tmp_path)], 1, "cannot write the weights"),
        (["import", str(checkpoint), "--out", str(tmp_path / "bad" / "out")], 1, "File exists"),
    ):
        assert main(command) == status, command
        stdout, stderr = capsys.readouterr()
        assert stdout == ""
        assert stderr.startswith("Error: ")
        assert stderr.count("\n") == 1
        assert sentence in stderr
    assert not (tmp_path / "out").exists()
    read_published(checkpoint)
