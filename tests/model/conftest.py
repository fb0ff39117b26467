"""Banks and weights that many tests read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from model.checkpoint import RunState, save_weights
from model.config import TrainSettings
from model.evaluate import main as evaluate
from model.order import SamplerState
from model.unet import Architecture, MaskedUNet
from pipeline.scenes import SCENES, render_scene, write_exr
from tests.model.toy_bank import make_bank, sources_on

# Threads that wait for each other at every small layer are slower than one, by far where other processes run too.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the commands that tests start


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """What a test draws without a generator of its own is the same whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sources to train on and one for validation, four patches each."""
    path = tmp_path_factory.mktemp("bank") / "patches.zarr"
    return make_bank(path, [*sources_on("train", 3), *sources_on("validation", 1)])


def some_state(step: int = 7) -> RunState:
    """A state whose values all differ from the defaults."""
    return RunState(
        step=step,
        sampler=SamplerState(seed=3, epoch=1, position=2, fingerprint="ab"),
        settings=TrainSettings(width=2, learning_rate=0.1 + 0.2),
        bank_fingerprint="cd",
        best_validation=1 / 3,
        versions={"hdrprep": "0"},
    )


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small network."""
    network = MaskedUNet(Architecture(width=2))
    network.initialise(0)
    file = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_weights(file, network, some_state())
    return file


@pytest.fixture(scope="session")
def hdr_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small HDR scenes, each of its kind."""
    folder = tmp_path_factory.mktemp("hdr")
    for kind in SCENES:
        write_exr(folder / f"{kind}.exr", render_scene(kind, 0, 72, 96))
    return folder


@pytest.fixture(scope="session")
def testset(hdr_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A test set of those scenes."""
    out = tmp_path_factory.mktemp("testset")
    assert evaluate(["testset", "--folder", str(hdr_folder), "--out", str(out), "--count", "4"]) == 0
    return out
