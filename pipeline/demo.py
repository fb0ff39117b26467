"""The whole way on generated scenes: HDR files, bank, a training step, a reconstruction, and a picture of it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline import status
from pipeline.bank import BankReader, open_storage
from pipeline.camera import CameraSettings, cut, draw_camera, render, resolve_exposure
from pipeline.config import resolve
from pipeline.errors import HdrprepError
from pipeline.frames import read_frame
from pipeline.opening import open_pipeline, prepare
from pipeline.records import ByteImage, FloatImage, Recipe, Window
from pipeline.scenes import render_scene, write_demo_set

SCENES, HEIGHT, WIDTH, SEED = 8, 768, 1024, 0
PHOTOGRAPH = 512  # height and width of the picture to reconstruct, pixels
PHOTOGRAPH_SEED = 1000  # of a scene that is not in the bank
# As configs/quick.yaml, smaller still: two cores finish the demo in minutes.
BANK: dict[str, dict[str, Any]] = {
    "crops": {"patches": 12, "patch_size": 256},
    "split": {"validation": 0.25},  # so that a scene or two of the few validate
}
TRAINING = {
    "width": 16,  # channels of the first layer, a quarter of the paper's
    "learning_rate": 1e-3,  # five times the paper's: a few hundred steps are to show something
    "perceptual_weight": 0.0,  # without the weights of VGG, a large download
    "log_every": 20,
    "validate_every": 100,
    "checkpoint_every": 100,
}
STEPS = 200
REQUIRED = ("torch", "safetensors", "tensorboard")  # what the model package imports


def make_demo(directory: Path, workers: int | None) -> Iterator[str]:
    """Make everything below `directory`, and yield the lines that name it. Repeated, it goes on where it stopped."""
    directory = directory.absolute()
    scenes = write_demo_set(directory / "scenes", SCENES, SEED, HEIGHT, WIDTH)
    yield f"scenes          {directory / 'scenes'} ({len(scenes)} HDR files)"
    bank = directory / "patches.zarr"
    _fill_bank(bank, scenes, workers)
    reader = BankReader(bank)
    counts = status.count(reader.sources(), reader.patches())
    yield f"bank            {bank} ({counts['kept']} of {counts['candidates']} patches kept)"
    if any(importlib.util.find_spec(name) is None for name in REQUIRED):
        yield "training needs torch, which is not installed: pip install 'hdrprep[model]', then repeat the command"
        return
    weights = _train(bank, directory / "run")
    yield f"weights         {weights}"
    yield f"picture         {_picture(directory, weights)}"


def _fill_bank(bank: Path, scenes: list[Path], workers: int | None) -> None:
    wanted = resolve([BANK, {"run": {"workers": workers}}])
    with open_pipeline(prepare(open_storage(bank), lambda _: wanted, create=True)) as pipeline:
        pipeline.everything(scenes)


def _train(bank: Path, out: Path) -> Path:
    resume = ["--resume"] if (out / "checkpoints").exists() else []
    settings = [word for key, value in TRAINING.items() for word in ("--set", f"train.{key}={value}")]
    _python("model.train", "--bank", str(bank), "--out", str(out), "--steps", str(STEPS), *settings, *resume)
    return out / "weights.safetensors"


def _picture(directory: Path, weights: Path) -> Path:
    """Photograph a new scene, reconstruct it, and put photograph, reconstruction and truth side by side."""
    truth, photograph = _photograph()
    ldr = directory / "photograph.png"
    cv2.imwrite(str(ldr), photograph[..., ::-1])
    _python("model.reconstruct", str(ldr), "--weights", str(weights), "--out", str(directory))
    reconstruction = read_frame(directory / "photograph.exr").pixels
    panels = [_label(photograph, "photograph"), _label(_tone_map(reconstruction), "reconstruction")]
    panels.append(_label(_tone_map(truth), "truth"))
    picture = directory / "photograph_reconstruction_truth.png"
    cv2.imwrite(str(picture), np.hstack(panels)[..., ::-1])
    return picture


def _photograph() -> tuple[FloatImage, ByteImage]:
    frame = render_scene("window", PHOTOGRAPH_SEED, PHOTOGRAPH, PHOTOGRAPH)
    window = Window(y=0, x=0, height=PHOTOGRAPH, width=PHOTOGRAPH, patch_size=PHOTOGRAPH, flip=False)
    camera = draw_camera(CameraSettings(), PHOTOGRAPH_SEED, "demo", 0, 0)
    exposure = resolve_exposure(cut(frame, window), camera.clip_fraction)
    return render(frame, Recipe(window, replace(camera, exposure=exposure)))


def _tone_map(hdr: FloatImage) -> ByteImage:
    """Return (H, W, 3) uint8 by Reinhard et al. 2002, Eq. 4, white at 8 times what clips at the sensor."""
    scaled, white = 2.0 * np.maximum(hdr, 0.0), 16.0
    shown = np.clip(scaled * (1 + scaled / white**2) / (1 + scaled), 0.0, 1.0) ** (1 / 2.2)
    return np.asarray(np.round(255 * shown), dtype=np.uint8)


def _label(picture: ByteImage, text: str) -> ByteImage:
    labelled = np.pad(picture, ((32, 0), (0, 8), (0, 0)), constant_values=255)
    cv2.putText(labelled, text, (8, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    return labelled


def _python(module: str, *arguments: str) -> None:
    """Run a module as a process of its own; its progress goes to stderr, where ours goes."""
    process = subprocess.run([sys.executable, "-m", module, *arguments], stdout=subprocess.DEVNULL, check=False)
    if process.returncode != 0:
        raise HdrprepError(f"python -m {module} ended with status {process.returncode}; what it said stands above")
