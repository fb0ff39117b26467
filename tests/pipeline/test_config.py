"""Settings: layers, what is refused and how it is said, and what a bank lets a later command change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline.camera import Distribution
from pipeline.config import Settings, check_against_bank, parse_assignment, read_config, resolve
from pipeline.errors import BankMismatch, ConfigError

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def resolved(**sections: dict[str, Any]) -> Settings:
    return resolve([sections])


def refusal_of(section: str, key: str, value: object) -> str:
    """What is said against one setting."""
    with pytest.raises(ConfigError) as refusal:
        resolve([{section: {key: value}}])
    message = str(refusal.value)
    assert "\n" not in message
    assert "pydantic" not in message
    assert "validation error" not in message
    assert refusal.value.__cause__ is None
    return message


# Layers


def test_without_layers_there_are_the_papers_numbers() -> None:
    settings = resolve([])
    assert settings == Settings()
    assert (settings.crops.patches, settings.crops.patch_size, settings.crops.width_fraction) == (250, 512, None)
    assert (settings.score.threshold, settings.score.average, settings.score.alpha) == (0.85, "saturated", 0.96)
    assert (settings.score.sigma_color, settings.score.sigma_space) == (100, 10)
    assert settings.camera.clip_fraction == Distribution(uniform=(0.85, 0.95))
    assert settings.camera.noise_sigma == Distribution(uniform=(0.0, 0.01))
    assert settings.camera.curve_n == Distribution(normal=(0.9, 0.1), clip=(0.2, 2.5))
    assert settings.camera.curve_sigma == Distribution(normal=(0.6, 0.1), clip=(0.0, 5.0))
    assert settings.camera.jpeg_quality == Distribution(integers=(30, 100))
    assert (settings.ingest.seed, settings.run.max_failures, settings.run.workers) == (0, 0, None)


def test_a_later_layer_wins_key_by_key() -> None:
    settings = resolve([
        {"score": {"threshold": 0.5, "alpha": 0.9}, "crops": {"patches": 7}},
        {"score": {"threshold": 0.6}},
        {},
        {"score": {"threshold": 0.7}, "run": {"workers": 2}},
    ])  # fmt: skip
    assert settings.score.threshold == 0.7
    assert settings.score.alpha == 0.9
    assert settings.crops.patches == 7
    assert settings.run.workers == 2


def test_a_distribution_is_one_value_and_never_a_mixture_of_two_layers() -> None:
    settings = resolve([
        {"camera": {"noise_sigma": {"uniform": [0, 0.1]}}},
        {"camera": {"noise_sigma": {"normal": [0.01, 0], "clip": [0, 1]}}},
    ])  # fmt: skip
    assert settings.camera.noise_sigma == Distribution(normal=(0.01, 0.0), clip=(0.0, 1.0))


def test_layers_are_not_changed() -> None:
    layers: list[dict[str, dict[str, Any]]] = [{"score": {"threshold": 0.5}}, {"score": {"threshold": 0.6}}]
    resolve(layers)
    assert layers == [{"score": {"threshold": 0.5}}, {"score": {"threshold": 0.6}}]


# Refusals


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("scores", "threshold", 1, "unknown setting scores; did you mean score?"),
        ("zzz", "key", 1, "unknown setting zzz; there are: ingest, crops, camera, score, split, export, card, run"),
        ("score", "treshold", 1, "unknown setting score.treshold; did you mean threshold?"),
        ("crops", "zzz", 1, "unknown setting crops.zzz; there are: patches, patch_size,"),
        ("camera", "noise", 1, "unknown setting camera.noise; "),
        ("camera", "noise_sigma", {"unifrm": [0, 1]}, "camera.noise_sigma.unifrm; did you mean uniform?"),
        ("camera", "noise_sigma", {"zzz": 1}, "there are: uniform, normal, integers, constant, clip"),
        ("camera", "noise_sigma.uniform", [0, 1], "setting camera.noise_sigma.uniform; did you mean noise_sigma?"),
    ],
)  # fmt: skip
def test_unknown_settings_are_named_with_a_hint(section: str, key: str, value: object, said: str) -> None:
    assert said in refusal_of(section, key, value)


@pytest.mark.parametrize(
    ("section", "key", "value", "said"),
    [
        ("crops", "patches", 0, "greater than or equal to 1 (given: 0)"),
        ("crops", "patches", 2.5, "valid integer"),
        ("crops", "patches", "many", "valid integer"),
        ("crops", "patches", [250], "valid integer"),
        ("crops", "patch_size", 9000, "less than or equal to 8192 (given: 9000)"),
        ("crops", "patch_size", None, "given: not set"),
        ("crops", "width_fraction", [0.6, 0.2], "the range of width_fraction [0.6, 0.2] is empty"),
        ("crops", "width_fraction", [0.2], "crops.width_fraction.1"),
        ("score", "average", "whole", "'saturated' or 'patch' (given: whole)"),
        ("score", "alpha", 1, "less than 1"),
        ("score", "threshold", "high", "valid number"),
        ("score", "threshold", float("nan"), "finite number"),
        ("ingest", "seed", -1, "greater than or equal to 0"),
        ("ingest", "seed", 2**63, "less than 9223372036854775808"),
        ("export", "limit", 0, "greater than or equal to 1"),
        ("export", "compression", "gzip", "given: gzip"),
        ("run", "workers", 0, "greater than or equal to 1"),
        ("run", "max_failures", -1, "give a number of sources"),
        ("camera", "clip_fraction", 1.2, "clip_fraction can be drawn outside of [0, 1]: narrow or clip it"),
        ("camera", "noise_sigma", {"normal": [0, 1]}, "noise_sigma can be drawn outside of [0, inf]"),
        ("camera", "jpeg_quality", {"integers": [30, 101]}, "jpeg_quality can be drawn outside of [0, 100]"),
        ("camera", "hue_shift", {"normal": [0, -1]}, "camera.hue_shift.normal.1"),
        ("camera", "hue_shift", {"uniform": [1, 0]}, "camera.hue_shift: the range [1.0, 0.0] is empty"),
        ("camera", "hue_shift", {}, "give exactly one of uniform, normal, integers, or a plain number"),
        ("camera", "hue_shift", {"uniform": [0, 1], "constant": 1}, "give exactly one of"),
        ("camera", "hue_shift", {"uniform": [0, 1, 2]}, "camera.hue_shift.uniform"),
        ("camera", "hue_shift", {"uniform": [0, float("inf")]}, "finite number"),
        ("camera", "hue_shift", [0, 1], "camera.hue_shift"),
        ("camera", "hue_shift", "some", "valid number"),
    ],
)
def test_wrong_types_and_ranges_are_said_in_one_sentence(section: str, key: str, value: object, said: str) -> None:
    message = refusal_of(section, key, value)
    assert said in message
    assert message.startswith(section)


def test_a_key_that_is_no_word_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"camera\.1"):
        resolve([{"camera": {1: 2}}])  # type: ignore[dict-item]


# --set


@pytest.mark.parametrize(
    ("text", "layer"),
    [
        ("score.threshold=0.5", {"score": {"threshold": 0.5}}),
        (" score.threshold = 0.5 ", {"score": {"threshold": 0.5}}),
        ("crops.patches=20", {"crops": {"patches": 20}}),
        ("score.average=patch", {"score": {"average": "patch"}}),
        ("export.limit=null", {"export": {"limit": None}}),
        ("export.limit=", {"export": {"limit": None}}),
        ("crops.width_fraction=[0.2, 0.6]", {"crops": {"width_fraction": [0.2, 0.6]}}),
        ("camera.noise_sigma={uniform: [0, 0.02]}", {"camera": {"noise_sigma": {"uniform": [0, 0.02]}}}),
        ("run.scheduler=tcp://host:8786?a=b", {"run": {"scheduler": "tcp://host:8786?a=b"}}),
    ],
)
def test_assignments(text: str, layer: dict[str, object]) -> None:
    assert parse_assignment(text) == layer
    resolve([parse_assignment(text)])


@pytest.mark.parametrize("text", ["", "=", "threshold=1", "score.threshold", "score.=1", ".threshold=1", "score=1"])
def test_what_is_no_assignment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write section\.key=value, such as score\.threshold=0\.85") as refusal:
        parse_assignment(text)
    assert text in str(refusal.value)


@pytest.mark.parametrize("text", ["score.threshold=[", "score.threshold={a", "score.threshold=!!python/name:os.system"])
def test_an_assignment_of_broken_yaml_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not valid YAML") as refusal:
        parse_assignment(text)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("number", ["0.001", "1e-3", "1.0e-3", ".001"])
def test_every_way_to_write_a_number_is_a_constant(number: str) -> None:
    # YAML 1.1 takes 1e-3 for text: it wants a dot, and a sign in the exponent
    settings = resolve([parse_assignment(f"camera.noise_sigma={number}")])
    assert settings.camera.noise_sigma == Distribution(constant=0.001)
    assert resolve([parse_assignment(f"score.threshold={number}")]).score.threshold == 0.001


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0.5", Distribution(constant=0.5)),
        ("1", Distribution(constant=1.0)),
        ("{constant: 0.5}", Distribution(constant=0.5)),
        ("{uniform: [0, 1]}", Distribution(uniform=(0.0, 1.0))),
        ("{normal: [0.5, 0.1], clip: [0, 1]}", Distribution(normal=(0.5, 0.1), clip=(0.0, 1.0))),
        ("{integers: [0, 1]}", Distribution(integers=(0, 1))),
    ],
)
def test_each_form_of_a_distribution(written: str, meant: Distribution) -> None:
    assert resolve([parse_assignment(f"camera.noise_sigma={written}")]).camera.noise_sigma == meant


# Files


def test_a_file_gives_a_layer(file: Path) -> None:
    file.write_text("score:\n  threshold: 0.5  # lower\ncrops: {patches: 3}\n", encoding="utf-8")
    assert read_config(file) == {"score": {"threshold": 0.5}, "crops": {"patches": 3}}


def test_the_models_section_is_left_to_the_model(file: Path) -> None:
    file.write_text("score: {threshold: 0.5}\ntrain: {steps: 10, no_such_key_here: true}\n", encoding="utf-8")
    assert resolve([read_config(file)]).score.threshold == 0.5


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "---\n"])
def test_an_empty_file_changes_nothing(text: str, file: Path) -> None:
    file.write_text(text, encoding="utf-8")
    assert resolve([read_config(file)]) == Settings()


@pytest.mark.parametrize("text", ["a: b: c", "score: {threshold: 1", "\tscore: 1", "!!python/object:os.system {}"])
def test_broken_yaml_is_refused_in_one_sentence(text: str, file: Path) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"settings\.yaml is not valid YAML") as refusal:
        read_config(file)
    assert "\n" not in str(refusal.value)


def test_a_file_that_is_no_text_is_refused(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ConfigError, match="not valid YAML"):
        read_config(file)


@pytest.mark.parametrize("text", ["[1, 2]", "3", "score", "score: 3", "score: [1]", "score: {alpha: 0.9}\ncrops: 3"])
def test_a_file_without_sections_is_refused(text: str, file: Path) -> None:
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="must hold sections of settings, such as score:"):
        read_config(file)


def test_a_file_that_cannot_be_read_is_refused(file: Path, tmp_path: Path) -> None:
    for path in (file, tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_config(path)


def test_the_configurations_of_this_project_are_here() -> None:
    assert {"paper.yaml", "quick.yaml"} <= {path.name for path in CONFIGS}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configurations_of_this_project_load(path: Path) -> None:
    settings = resolve([read_config(path)])
    known = {*Settings.model_fields, "train"}
    assert set(yaml.safe_load(path.read_text(encoding="utf-8"))) <= known
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    for word in ("Purpose:", "Source:", "Cost:", "Command:"):
        assert any(word in line for line in header), f"{path.name} does not say its {word}"
    check_against_bank(settings, settings.stored(), exported=True)


def test_the_papers_configuration_is_the_default() -> None:
    paper = next(path for path in CONFIGS if path.name == "paper.yaml")
    assert resolve([read_config(paper)]) == Settings()


# What a bank stores, and lets change


distributions = st.one_of(
    st.floats(0, 1).map(lambda value: {"constant": value}),
    st.tuples(st.floats(0, 0.4), st.floats(0.5, 1)).map(lambda bounds: {"uniform": list(bounds)}),
    st.floats(0, 1).map(lambda mean: {"normal": [mean, 0.1], "clip": [0.1, 0.9]}),
)
layers = st.fixed_dictionaries(
    {},
    optional={
        "ingest": st.fixed_dictionaries({"seed": st.integers(0, 2**63 - 1)}),
        "crops": st.fixed_dictionaries(
            {}, optional={"patches": st.integers(1, 999), "width_fraction": st.none() | st.just([0.2, 0.6])}
        ),
        "camera": st.fixed_dictionaries({}, optional={"noise_sigma": distributions, "clip_fraction": distributions}),
        "score": st.fixed_dictionaries({"threshold": st.floats(0, 9)}),
        "export": st.fixed_dictionaries({"limit": st.none() | st.integers(1, 9)}),
        "run": st.fixed_dictionaries({"workers": st.integers(1, 9)}),
    },
)


@given(layers)
def test_what_is_stored_comes_back(layer: dict[str, dict[str, Any]]) -> None:
    settings = resolve([layer])
    stored = json.loads(json.dumps(settings.stored(), allow_nan=False))
    assert "run" not in stored
    assert "limit" not in stored["export"]
    again = resolve([stored])
    assert again.stored() == settings.stored()
    assert (again.ingest, again.crops, again.camera, again.score) == (
        settings.ingest, settings.crops, settings.camera, settings.score,
    )  # fmt: skip
    check_against_bank(settings, stored, exported=True)
    check_against_bank(again, stored, exported=True)


# Another value than the default, for each setting that patches depend on and for each that they do not.
FIXED = [
    ("ingest", "seed", 1),
    ("ingest", "every", 5),
    ("crops", "patch_size", 256),
    ("crops", "flip_probability", 0.0),
    ("crops", "width_fraction", [0.2, 0.6]),
    ("camera", "clip_fraction", {"uniform": [0.85, 0.94]}),
    ("camera", "noise_sigma", 0.0),
    ("camera", "hue_shift", 0),
    ("camera", "saturation_shift", 0),
    ("camera", "curve_n", {"normal": [0.9, 0.1], "clip": [0.3, 2.5]}),
    ("camera", "curve_sigma", 0.6),
    ("camera", "jpeg_quality", 0),
    ("score", "alpha", 0.9),
    ("score", "sigma_color", 1.0),
    ("score", "sigma_space", 5.0),
]
FIXED_BY_EXPORT = [("export", "shard_rows", 8), ("export", "compression", "zstd")]
FREE = [
    ("ingest", "sequences", False),
    ("ingest", "transfer", "pq"),
    ("crops", "patches", 10),
    ("score", "threshold", 1.5),
    ("score", "average", "patch"),
    ("score", "min_saturated_fraction", 0.1),
    ("split", "validation", 0.25),
    ("split", "test", 0.2),
    ("split", "group_by", "folder"),
    ("export", "limit", 5),
    ("export", "tar_patches", 100),
    ("card", "name", "Lamps"),
    ("card", "description", "Lamps at night."),
    ("card", "url", "https://example.org/lamps"),
    ("card", "version", "2.0.0"),
    ("card", "creators", ["A. Person"]),
    ("card", "publisher", "An organisation"),
    ("card", "date_published", "2025-01-31"),
    ("card", "citation", "@misc{lamps}"),
    ("run", "workers", 3),
    ("run", "scheduler", "tcp://host:8786"),
    ("run", "max_failures", 9),
    ("run", "source_timeout", 9.0),
]


@pytest.mark.parametrize(("section", "key", "value"), FIXED)
@pytest.mark.parametrize("exported", [False, True])
def test_what_patches_depend_on_cannot_change(section: str, key: str, value: object, exported: bool) -> None:
    changed = resolve([{section: {key: value}}])
    with pytest.raises(BankMismatch, match=rf"{section}\.{key} is .*the bank was made with") as refusal:
        check_against_bank(changed, Settings().stored(), exported)
    assert "leave the setting out, or use another --bank" in str(refusal.value)
    assert refusal.value.exit_status == 2
    with pytest.raises(BankMismatch, match=rf"{section}\.{key}"):  # nor can it change back
        check_against_bank(Settings(), changed.stored(), exported)


@pytest.mark.parametrize(("section", "key", "value"), FREE)
@pytest.mark.parametrize("exported", [False, True])
def test_what_may_change(section: str, key: str, value: object, exported: bool) -> None:
    check_against_bank(resolve([{section: {key: value}}]), Settings().stored(), exported)


@pytest.mark.parametrize(("section", "key", "value"), FIXED_BY_EXPORT)
def test_the_first_export_fixes_the_layout(section: str, key: str, value: object) -> None:
    changed = resolve([{section: {key: value}}])
    check_against_bank(changed, Settings().stored(), exported=False)
    with pytest.raises(BankMismatch, match=rf"{section}\.{key}"):
        check_against_bank(changed, Settings().stored(), exported=True)


def test_each_setting_is_fixed_or_free() -> None:
    """Who adds a setting says here which it is."""
    listed = {(section, key) for section, key, _ in [*FIXED, *FIXED_BY_EXPORT, *FREE]}
    assert listed == {(section, key) for section, keys in Settings().model_dump().items() for key in keys}


def test_a_bank_of_fewer_settings_has_the_defaults_of_the_others() -> None:
    check_against_bank(Settings(), {"score": {"threshold": 0.5}}, exported=True)
    with pytest.raises(BankMismatch, match=r"score\.alpha is 0\.96, but the bank was made with 0\.9;"):
        check_against_bank(Settings(), {"score": {"alpha": 0.9}}, exported=True)


def test_a_section_with_nothing_in_it_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("score:\n  # threshold: 0.9\ncrops: {patches: 3}\n")
    assert read_config(file) == {"score": {}, "crops": {"patches": 3}}
