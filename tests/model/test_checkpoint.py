"""Round trips, half-written checkpoints, and files that are not what they seem."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.optim import Adam

from model import checkpoint
from model.checkpoint import list_checkpoints, load_network, load_state, restore, save_checkpoint, save_weights
from model.errors import CheckpointError
from model.unet import Architecture, MaskedUNet
from model.weights import FORMAT
from tests.model.conftest import some_state


def trained(seed: int, steps: int = 2) -> tuple[MaskedUNet, Adam]:
    """A network in the layout of training, after some steps."""
    network = MaskedUNet(Architecture(width=2, alpha=0.5))
    network.initialise(seed)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = Adam(network.parameters(), lr=0.01)
    for _ in range(steps):
        step(network, optimizer)
    return network, optimizer


def step(network: MaskedUNet, optimizer: Adam) -> None:
    optimizer.zero_grad()
    sum((p * p).sum() + p.sum() for p in network.parameters()).backward()  # type: ignore[union-attr]
    optimizer.step()


def test_a_restored_run_goes_on_exactly(tmp_path: Path) -> None:
    network, optimizer = trained(0)
    place = save_checkpoint(tmp_path, some_state(), network, optimizer, keep=3)
    other, other_optimizer = trained(1, steps=0)
    restore(place, other, other_optimizer)
    step(network, optimizer)
    step(other, other_optimizer)
    for (name, expected), found in zip(network.named_parameters(), other.parameters(), strict=True):
        assert torch.equal(expected, found), name
        assert expected.stride() == found.stride(), name
        assert other_optimizer.state[found]["exp_avg"].stride() == found.stride(), name


def test_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    place = save_checkpoint(tmp_path, some_state(), *trained(0), keep=3)
    assert load_state(place) == some_state()


def test_weights_can_be_used_from_the_checkpoint_and_from_the_run(tmp_path: Path) -> None:
    network, optimizer = trained(0)
    place = save_checkpoint(tmp_path, some_state(), network, optimizer, keep=3)
    for file in (place / "weights.safetensors", tmp_path / "weights.safetensors"):
        found = load_network(file)
        assert found.architecture == Architecture(width=2, alpha=0.5)
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), found.parameters(), strict=True))
        assert all(p.requires_grad for p in found.parameters())


def test_metadata_says_where_weights_come_from(weights: Path) -> None:
    with safe_open(weights, framework="pt") as opened:
        metadata = opened.metadata()
    assert metadata["format"] == FORMAT
    assert json.loads(metadata["architecture"]) == Architecture(width=2).model_dump()
    assert (metadata["step"], metadata["bank_fingerprint"]) == ("7", "cd")
    assert metadata["versions"] == "hdrprep 0"


def test_only_the_last_checkpoints_are_kept_in_the_order_of_steps(tmp_path: Path) -> None:
    network, optimizer = trained(0)
    for number in (9, 10, 11, 100_000_000):
        save_checkpoint(tmp_path, some_state(number), network, optimizer, keep=2)
    assert [p.name for p in list_checkpoints(tmp_path)] == ["step-00000011", "step-100000000"]
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["step-00000011", "step-100000000"]


def test_a_checkpoint_that_was_not_finished_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, optimizer = trained(0)
    save_checkpoint(tmp_path, some_state(1), network, optimizer, keep=3)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for part in ("save_file", "_write_text", "_sync"):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, part, killed)
            with pytest.raises(KeyboardInterrupt):
                save_checkpoint(tmp_path, some_state(2), network, optimizer, keep=3)
        if part != "_sync":
            assert [load_state(p).step for p in list_checkpoints(tmp_path)] == [1]


def test_what_a_kill_left_is_in_nobodys_way(tmp_path: Path) -> None:
    for name in (".step-00000007", ".step-00000003"):
        (tmp_path / "checkpoints" / name / "deep").mkdir(parents=True)
    (tmp_path / ".weights.safetensors.ab_c1234").touch()
    place = save_checkpoint(tmp_path, some_state(7), *trained(0), keep=3)
    assert sorted(p.name for p in place.iterdir()) == ["optimizer.safetensors", "state.json", "weights.safetensors"]
    assert sorted(p.name for p in tmp_path.rglob("*step*")) == ["step-00000007"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoints", "weights.safetensors"]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").write_text("a file where a folder should be")
    with pytest.raises(CheckpointError, match="cannot write the checkpoint"):
        save_checkpoint(tmp_path, some_state(), *trained(0), keep=3)


Edit = Callable[[dict[str, torch.Tensor], dict[str, str]], None]


def wider(_tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    metadata["architecture"] = Architecture(width=3).model_dump_json()


def huge(_tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    metadata["architecture"] = metadata["architecture"].replace('"width":2', '"width":1000000')


def unknown_preset(_tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    metadata["architecture"] = metadata["architecture"].replace('"paper"', '"another"')


def lacking(tensors: dict[str, torch.Tensor], _metadata: dict[str, str]) -> None:
    del tensors["head.bias"]


def surplus(tensors: dict[str, torch.Tensor], _metadata: dict[str, str]) -> None:
    tensors["other"] = torch.zeros(1)


def half(tensors: dict[str, torch.Tensor], _metadata: dict[str, str]) -> None:
    tensors["head.bias"] = tensors["head.bias"].half()


def not_a_number(tensors: dict[str, torch.Tensor], _metadata: dict[str, str]) -> None:
    tensors["head.bias"][1] = torch.nan


def foreign(_tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    metadata.clear()


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (wider, "is float32 (2, 3, 7, 7) instead of float32 (3, 3, 7, 7)"),
        (huge, "is for a network that this version does not know"),
        (unknown_preset, "is for a network that this version does not know"),
        (lacking, "lacks head.bias"),
        (surplus, "has an unknown tensor other"),
        (half, "head.bias is float16 (3,) instead of float32 (3,)"),
        (not_a_number, "not finite numbers"),
        (foreign, "holds tensors, but not weights of this network"),
    ],
)
def test_weights_that_do_not_fit_are_one_sentence(tmp_path: Path, weights: Path, edit: Edit, sentence: str) -> None:
    with safe_open(weights, framework="pt") as opened:
        metadata = dict(opened.metadata())
    tensors = load_file(weights)
    edit(tensors, metadata)
    save_file(tensors, tmp_path / "edited", metadata)
    with pytest.raises(CheckpointError) as caught:
        load_network(tmp_path / "edited")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 100, (10**9).to_bytes(8, "little") + b"{}"])
def test_what_is_not_safetensors_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a readable safetensors file") as caught:
        load_network(file)
    assert "\n" not in str(caught.value)


def test_a_folder_or_nothing_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(CheckpointError, match="is not a readable safetensors file"):
            load_network(path)


def test_a_truncated_file_is_one_sentence(tmp_path: Path, weights: Path) -> None:
    file = tmp_path / "cut"
    file.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="is not a readable safetensors file"):
        load_network(file)


@pytest.mark.parametrize("text", ["", "{", "{}", '{"step": 1}'])
def test_a_state_that_cannot_be_read_says_how_to_go_on(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    with pytest.raises(CheckpointError, match="delete that folder to resume from the checkpoint before it"):
        load_state(tmp_path)


def test_a_run_is_not_restored_to_another_network(tmp_path: Path) -> None:
    place = save_checkpoint(tmp_path, some_state(), *trained(0), keep=3)
    other = MaskedUNet(Architecture(width=3))
    with pytest.raises(CheckpointError, match="another network"):
        restore(place, other, Adam(other.parameters()))


def test_weights_are_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "best.safetensors"
    for seed in (0, 1):
        save_weights(file, trained(seed)[0], some_state())
    assert [p.name for p in tmp_path.iterdir()] == ["best.safetensors"]
