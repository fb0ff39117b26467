"""Settings: where they come from, which win, and the one sentence about those that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.config import FIXED, TrainSettings, resolve
from model.losses import HdrWeights
from model.unet import Architecture
from pipeline.errors import ConfigError, UsageError


def test_defaults_are_the_papers() -> None:
    settings = TrainSettings()
    assert (settings.learning_rate, settings.betas, settings.batch_size) == (2e-4, (0.9, 0.999), 4)
    assert (settings.alpha, settings.epsilon, settings.width) == (0.96, 1e-6, 64)
    assert settings.architecture() == Architecture()


def test_weights_of_the_loss_are_the_papers_and_reach_it() -> None:
    assert TrainSettings().hdr_weights() == HdrWeights(reconstruction=6.0, perceptual=1.0, vgg=1.0, style=120.0)
    settings = TrainSettings(reconstruction_weight=1, perceptual_weight=2, vgg_weight=3, style_weight=4)
    assert settings.hdr_weights() == HdrWeights(reconstruction=1, perceptual=2, vgg=3, style=4)


def test_vgg_is_needed_where_a_perceptual_term_has_weight() -> None:
    assert TrainSettings().perceptual()
    assert TrainSettings(vgg_weight=0).perceptual()
    assert TrainSettings(style_weight=0).perceptual()
    assert not TrainSettings(perceptual_weight=0).perceptual()
    assert not TrainSettings(vgg_weight=0, style_weight=0).perceptual()


def test_settings_of_the_network_reach_it() -> None:
    values = {"preset": "official", "masking": "gated", "width": 8, "alpha": 0.5, "epsilon": 0.1}
    assert TrainSettings.model_validate(values).architecture() == Architecture.model_validate(values)


def test_alpha_is_the_presets_unless_it_is_given() -> None:
    assert resolve(None, ["train.preset=official"], {}, None).alpha == 0.95
    assert resolve(None, ["train.preset=official", "train.alpha=0.9"], {}, None).alpha == 0.9


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    return file


def test_flag_wins_over_set_over_file_over_stored_over_default(tmp_path: Path) -> None:
    stored = TrainSettings(steps=1, log_every=1, workers=1, validate_every=1, keep_checkpoints=7)
    file = write(tmp_path, "train: {steps: 2, log_every: 2, workers: 2}")
    settings = resolve(file, ["train.steps=3", "train.log_every=3"], {"steps": 4, "workers": None}, stored)
    assert (settings.steps, settings.log_every, settings.workers) == (4, 3, 2)
    assert (settings.keep_checkpoints, settings.checkpoint_every) == (7, 1000)


def test_other_sections_of_the_file_are_the_pipelines(tmp_path: Path) -> None:
    file = write(tmp_path, "camera: {what: ever}\ntrain: {learning_rate: 1e-3}\n")
    assert resolve(file, [], {}, None).learning_rate == 1e-3  # a string to YAML 1.1, which asks for 1.0e-3


@pytest.mark.parametrize("text", ["", "camera: {}", "train:"])
def test_a_file_need_not_say_anything(tmp_path: Path, text: str) -> None:
    assert resolve(write(tmp_path, text), [], {}, None) == TrainSettings()


def test_lists_can_be_set() -> None:
    assert resolve(None, ["train.betas=[0.5, 0.9]"], {}, None).betas == (0.5, 0.9)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("train: {stepz: 3}", "no setting train.stepz; did you mean train.steps?"),
        ("train: {zzzzzz: 3}", "no setting train.zzzzzz; known are stage, "),
        ("train: {batch_size: 0}", "train.batch_size = 0: input should be greater than or equal to 1"),
        ("train: {batch_size: many}", "train.batch_size = 'many': input should be a valid integer"),
        ("train: {steps: true}", "train.steps = True: a number is asked for"),
        ("train: {learning_rate: .nan}", "train.learning_rate = nan: input should be a finite number"),
        ("train: {betas: [0.9, 1.0]}", "train: both betas must be in"),
        ("train: {style_weight: -1}", "train.style_weight = -1"),
        ("train: {vgg_depth: 18}", "train.vgg_depth = 18"),
        ("train: {vgg_scale: [1.0, 0.0, 1.0]}", "train: the factors of vgg_scale must be above 0"),
        ("train: {vgg_scale: [1.0]}", "train.vgg_scale = [1.0]"),
        ("train: {reconstruction_weight: 0, perceptual_weight: 0}", "leave nothing to minimise"),
        ("train: {stage: inpainting, augment: flip}", "augment is of stage hdr alone"),
        (
            "train: {stage: hdr-pretraining, reconstruction_weight: 0, perceptual_weight: 0}",
            "leave nothing to minimise",
        ),
        ("train: {stage: inpainting, inpainting_valid: 0, inpainting_hole: 0}", "leave nothing to reconstruct"),
        ("train: {preset: other}", "train.preset = 'other': input should be 'paper' or 'official'"),
        ("train: {preset: [paper]}", "train.preset = ['paper']: input should be 'paper' or 'official'"),
        ("train: {masking: soft}", "train.masking = 'soft': input should be 'feature', 'input', 'none' or 'gated'"),
        ("train: [steps]", "section train must hold settings"),
        ("train: {", "is not YAML"),
        ("- steps", "section train must hold settings"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(write(tmp_path, text), [], {}, None)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml: No such file"):
        resolve(tmp_path / "none.yaml", [], {}, None)


@pytest.mark.parametrize("text", ["steps=3", "train.steps", "camera.noise=3", "train.=3", "train.steps=[3"])
def test_assignments_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        resolve(None, [text], {}, None)


@pytest.mark.parametrize("name", FIXED)
def test_a_resumed_run_cannot_become_another_one(name: str) -> None:
    other = {"seed": 1, "batch_size": 2, "width": 2, "alpha": 0.5, "epsilon": 0.5} | {
        "reconstruction_weight": 1.0,
        "perceptual_weight": 0.5,
        "vgg_weight": 2.0,
        "style_weight": 1.0,
        "vgg_depth": 16,
        "vgg_scale": [1.0, 1.0, 2.0],
        "preset": "official",
        "masking": "gated",
        "stage": "inpainting",
        "patch_size": 64,
        "photo_validation": 0.5,
        "holes_are": "black",
        "balance": "sources",
        "augment": "camera",
        "inpainting_valid": 2.0,
        "inpainting_hole": 2.0,
        "inpainting_perceptual": 2.0,
        "inpainting_style": 2.0,
        "inpainting_total_variation": 2.0,
    }
    with pytest.raises(UsageError, match=f"the run was made with train.{name} = "):
        resolve(None, [f"train.{name}={other[name]}"], {}, TrainSettings())


def test_a_resumed_run_may_get_more_steps_and_another_rate() -> None:
    settings = resolve(None, ["train.learning_rate=0.5"], {"steps": 9}, TrainSettings(steps=5))
    assert (settings.steps, settings.learning_rate) == (9, 0.5)
