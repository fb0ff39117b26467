"""The model card: written, read, shown; older files without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from model.card import Card, card_from_metadata, without_folders
from model.checkpoint import main
from model.weights import load_network, read_card
from tests.model.conftest import some_state


def test_a_card_comes_back_as_it_was() -> None:
    card = Card(
        architecture={"width": 2, "preset": "paper"},
        stage="hdr",
        step=7,
        best_validation=1 / 3,
        settings={"learning_rate": 0.1 + 0.2, "init": None},
        bank_fingerprint="12",  # a string of digits stays one
        versions="hdrprep 0",
    )
    assert card_from_metadata(card.metadata()) == card
    assert all(isinstance(value, str) for value in card.metadata().values())


def test_no_folder_of_the_machine_is_told() -> None:
    settings = {
        "vgg": "/home/ada/models/vgg19.pth",
        "init": "runs/first/weights.safetensors",
        "photos": None,
        "stage": "hdr",
    }
    assert without_folders(settings) == {
        "vgg": "vgg19.pth",
        "init": "weights.safetensors",
        "photos": None,
        "stage": "hdr",
    }


def test_weights_carry_the_card_of_their_run(weights: Path) -> None:
    card, state = read_card(weights), some_state()
    assert (card.stage, card.step, card.bank_fingerprint) == ("hdr", 7, "cd")
    assert card.best_validation == state.best_validation
    assert card.settings == json.loads(state.settings.model_dump_json())
    assert card.architecture["width"] == 2


def test_the_card_is_shown(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(weights)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {"stage             hdr", "step              7", "train.learning_rate=0.30000000000000004"} <= set(lines)
    assert main(["show", str(weights), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bank_fingerprint"] == "cd"
    assert main(["show", str(weights.parent / "none")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_a_file_from_before_there_were_cards_is_read(tmp_path: Path, weights: Path) -> None:
    with safe_open(weights, framework="pt") as opened:
        metadata = opened.metadata()
    older = {name: metadata[name] for name in ("format", "architecture", "step", "bank_fingerprint", "versions")}
    save_file(load_file(weights), tmp_path / "older", older)
    card = read_card(tmp_path / "older")
    assert (card.stage, card.step, card.settings) == (None, 7, None)
    assert load_network(tmp_path / "older").architecture.width == 2
    assert main(["show", str(tmp_path / "older")]) == 0
