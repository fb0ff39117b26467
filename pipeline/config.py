"""All settings of the pipeline: the stages' own, joined, read from YAML, and checked against those of a bank."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pipeline.bank import ExportSettings
from pipeline.camera import CameraSettings
from pipeline.crops import CropSettings
from pipeline.errors import BankMismatch, ConfigError
from pipeline.score import ScoreSettings
from pipeline.sources import IngestSettings
from pipeline.split import SplitSettings

Layer = Mapping[str, Mapping[str, Any]]  # section -> key -> value

MODEL_SECTION = "train"  # of the same files; the model package reads it


class RunSettings(BaseModel):
    """How the work is done; nothing of it changes a patch, and none of it is stored in the bank."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    workers: int | None = Field(None, ge=1, le=4096)  # processes; null: one a CPU core
    scheduler: str | None = None  # address of a running Dask scheduler; null: a local one
    max_failures: int | str = 0  # rejected sources that are still a success: a number, or a share such as 5%
    source_timeout: float = Field(300.0, gt=0)  # seconds that decoding one still or one frame may take

    @field_validator("max_failures")
    @classmethod
    def _check_max_failures(cls, value: int | str) -> int | str:
        text = str(value)
        number = text.removesuffix("%")
        if not number.isascii() or not number.isdigit() or (text != number and int(number) > 100):
            raise ValueError("give a number of sources, or a percentage such as 5%")
        return value if text != number else int(number)

    def allowed_failures(self, sources: int) -> int:
        """Return how many of so many sources may be rejected."""
        text = str(self.max_failures)
        return sources * int(text[:-1]) // 100 if text.endswith("%") else int(text)


class Settings(BaseModel):
    """The settings of all stages, by section."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ingest: IngestSettings = IngestSettings()
    crops: CropSettings = CropSettings()
    camera: CameraSettings = CameraSettings()
    score: ScoreSettings = ScoreSettings()
    split: SplitSettings = SplitSettings()
    export: ExportSettings = ExportSettings()
    run: RunSettings = RunSettings()

    def stored(self) -> dict[str, Any]:
        """Return what a bank keeps of its settings, as JSON values."""
        return self.model_dump(mode="json", exclude={"run": True, "export": {"limit"}}, exclude_none=True)


# What a later command may change: new sources get another number of patches, patches are labelled anew, sources are
# put on other sides.
_CHANGEABLE = {
    *("ingest.sequences", "ingest.transfer", "crops.patches"),
    *("score.threshold", "score.average", "score.min_saturated_fraction", "export.limit"),
    *("split.validation", "split.test", "split.group_by"),
}
# Fixed by the first export only.
_FIXED_BY_EXPORT = {"export.shard_rows", "export.compression"}


def read_config(path: Path) -> dict[str, dict[str, Any]]:
    """Read a YAML file of settings by section. Raises ConfigError where it cannot be read."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the configuration {path} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())[:160]
        raise ConfigError(f"the configuration {path} is not valid YAML: {detail}") from error
    if content is None:
        return {}
    if isinstance(content, dict):  # a section whose keys are all commented out reads as null
        content = {section: {} if keys is None else keys for section, keys in content.items()}
    if not isinstance(content, dict) or not all(isinstance(keys, dict) for keys in content.values()):
        raise ConfigError(
            f"the configuration {path} must hold sections of settings, such as score: {{threshold: 0.85}}"
        )
    return {str(section): dict(keys) for section, keys in content.items() if section != MODEL_SECTION}


def parse_assignment(text: str) -> dict[str, dict[str, Any]]:
    """Read one `section.key=value`, the value as YAML. Raises ConfigError where it is not of that form."""
    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and section and key):
        raise ConfigError(f"--set {text}: write section.key=value, such as score.threshold=0.85")
    try:
        return {section: {key: yaml.safe_load(value)}}
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not valid YAML") from error


def resolve(layers: Iterable[Layer]) -> Settings:
    """Join layers of settings, later ones over earlier ones, key by key. Raises ConfigError with one sentence."""
    joined: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, keys in layer.items():
            joined.setdefault(section, {}).update(keys)
    try:
        return Settings.model_validate(joined)
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def check_against_bank(settings: Settings, stored: Layer, exported: bool) -> None:
    """Raise BankMismatch where a setting differs from the bank's that its patches depend on."""
    ours, theirs = settings.stored(), resolve([stored]).stored()
    changeable = _CHANGEABLE if exported else _CHANGEABLE | _FIXED_BY_EXPORT
    for section, keys in Settings().model_dump(exclude={"run"}).items():
        for key in keys:
            mine, banked = ours[section].get(key), theirs[section].get(key)
            if mine != banked and f"{section}.{key}" not in changeable:
                raise BankMismatch(
                    f"{section}.{key} is {_show(mine)}, but the bank was made with {_show(banked)}; "
                    "leave the setting out, or use another --bank"
                )


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        return _explain_unknown(place)
    message = first["msg"].removeprefix("Value error, ")
    return f"{'.'.join(place)}: {message[0].lower()}{message[1:]} (given: {_show(first['input'])})"


def _explain_unknown(place: list[str]) -> str:
    known = list(Settings.model_fields)
    if len(place) > 1:
        section = Settings.model_fields[place[0]].annotation
        nested = getattr(section, "model_fields", {})
        known = list(nested) if len(place) == 2 else ["uniform", "normal", "integers", "constant", "clip"]
    close = difflib.get_close_matches(place[-1], known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are: {', '.join(known)}"
    return f"unknown setting {'.'.join(place)}; {hint}"


def _show(value: object) -> str:
    return "not set" if value is None else str(value)
