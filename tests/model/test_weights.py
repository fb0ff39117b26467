"""Which kind of file weights come in."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from model.errors import CheckpointError
from model.weights import is_published, load_network, load_with_card, read_card
from tests.model.literal import published_weights


def test_the_authors_checkpoint_is_recognised(tmp_path: Path, weights: Path) -> None:
    for name, zipped in (("new.pth", True), ("old.pth", False)):
        file = tmp_path / name
        torch.save({"model": published_weights(width=2)}, file, _use_new_zipfile_serialization=zipped)
        assert is_published(file)
        assert load_network(file).architecture.preset == "official"
        card = read_card(file)
        assert load_with_card(file)[1] == card
        assert card.architecture["preset"] == "official"
        assert card.imported_sha256
        assert card.stage is None
    assert load_with_card(weights)[1] == read_card(weights)
    assert not is_published(weights)
    assert not is_published(tmp_path)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"width":' * 200_000, "5", ""])
@pytest.mark.parametrize("field", ["architecture", "settings"])
def test_a_card_that_is_none_is_one_sentence(tmp_path: Path, weights: Path, field: str, text: str) -> None:
    with safe_open(weights, framework="pt") as opened:
        save_file(load_file(weights), tmp_path / "w", opened.metadata() | {field: text})
    with pytest.raises(CheckpointError, match="is for a network that this version does not know"):
        read_card(tmp_path / "w")


def test_a_pickle_is_not_run_and_is_one_sentence(tmp_path: Path) -> None:
    for content in ({"model": 1}, Path("x")):
        file = tmp_path / "file"
        file.write_bytes(pickle.dumps(content, protocol=2))
        for way in (load_network, read_card):
            with pytest.raises(CheckpointError) as caught:
                way(file)
            assert "\n" not in str(caught.value)
