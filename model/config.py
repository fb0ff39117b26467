"""The settings of a training run: defaults from the paper, a YAML file, the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from model.augment import Augmentation
from model.color import ALPHA
from model.holes import HoleColour
from model.layers import EPSILON
from model.losses import HdrWeights, InpaintingWeights
from model.unet import Architecture, Masking, PresetName, with_preset
from pipeline.errors import ConfigError, UsageError

SECTION = "train"  # of the project's YAML files; their other sections are the pipeline's

StageName = Literal["inpainting", "hdr-pretraining", "hdr"]

# Another value of one of these would make another run out of a resumed one.
FIXED = (
    *("stage", "patch_size", "photo_validation", "holes_are", "balance", "augment"),
    *("inpainting_valid", "inpainting_hole", "inpainting_perceptual", "inpainting_style", "inpainting_total_variation"),
    *("seed", "batch_size", "preset", "masking", "width", "alpha", "epsilon"),
    *("reconstruction_weight", "perceptual_weight", "vgg_weight", "style_weight", "vgg_depth", "vgg_scale"),
)

SWITCHES = ("compile", "deterministic")  # may be true or false


class TrainSettings(BaseModel):
    """Section `train`. `every` counts steps; one step is one update of the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Stage, and what it learns from
    stage: StageName = "hdr"  # Section 3.3: inpainting, then hdr; hdr-pretraining is the other way of Table 2
    init: str | None = Field(default=None, min_length=1)  # weights to begin with; None: Xavier's
    photos: str | None = Field(default=None, min_length=1)  # folder of photographs; stage hdr has none
    val: str | None = Field(default=None, min_length=1)  # folder to validate on; None: a share of `photos`
    photo_validation: float = Field(default=0.1, ge=0.0, lt=1.0)  # that share, by the hash of each name
    patch_size: int = Field(default=512, ge=32, le=8192)  # pixels, of photographs; Section 4; a bank has its own
    holes: str | None = Field(default=None, min_length=1)  # folder of masks for inpainting; None: they are drawn
    holes_are: HoleColour = "white"  # in those masks
    balance: Literal["none", "sources"] = "none"  # sources: each source of the bank comes equally often
    augment: Augmentation = "none"  # of the bank's patches: `flip`, or `camera`: mirrored and photographed anew

    # Optimisation: Adam
    learning_rate: float = Field(default=2e-4, gt=0.0, le=1.0)  # of the first step; Santos et al. 2020, Section 4
    betas: tuple[float, float] = (0.9, 0.999)  # decay a step of Adam's two means, in [0, 1); Section 4
    batch_size: int = Field(default=4, ge=1)  # patches a step; Section 4
    steps: int = Field(default=250_000, ge=1)  # ten passes over the paper's 100,000 patches; it says "convergence"
    seed: int = Field(default=0, ge=0, lt=2**63)  # of the initial weights and of the order of patches

    # Plateau of the validation loss, counted in validations; Section 4 halves the rate and gives no numbers
    plateau_patience: int | None = Field(default=10, ge=1)  # without improvement, then the rate falls; None: never
    plateau_factor: float = Field(default=0.5, gt=0.0, lt=1.0)  # by which it is multiplied; Section 4
    plateau_improvement: float = Field(default=1e-3, ge=0.0, lt=1.0)  # share of the best loss that counts as one
    minimum_rate: float = Field(default=1e-6, gt=0.0, le=1.0)  # below which it does not fall
    stop_patience: int | None = Field(default=30, ge=1)  # without improvement, then training ends; None: never

    # Network and mask
    preset: PresetName = "paper"  # `official`: the network of the authors' released code
    masking: Masking = "feature"  # FMask; `input` IMask, `none` SConv, `gated` GConv; Table 2
    width: int = Field(default=64, ge=1, le=1024)  # channels of the first layer; Fig. 6 and the authors' code
    alpha: float = Field(default=ALPHA, ge=0.0, lt=1.0)  # T at which the mask begins to fall; Fig. 2, official: 0.95
    epsilon: float = Field(default=EPSILON, gt=0.0, le=1.0)  # guards the division of Eq. 4

    # Loss: reconstruction_weight L_r + perceptual_weight (vgg_weight L_v + style_weight L_s); Eq. 5 and 7
    reconstruction_weight: float = Field(default=6.0, ge=0.0, le=1e6)  # lambda_1; Section 3.2
    perceptual_weight: float = Field(default=1.0, ge=0.0, le=1e6)  # lambda_2; Section 3.2; 0: no VGG is needed
    vgg_weight: float = Field(default=1.0, ge=0.0, le=1e6)  # lambda_3; Section 3.2
    style_weight: float = Field(default=120.0, ge=0.0, le=1e6)  # lambda_4; Section 3.2
    vgg: str | None = Field(default=None, min_length=1)  # file of VGG's weights; None: torchvision's, downloaded once
    vgg_depth: Literal[16, 19] = 19  # Section 3.2; 16 in the authors' code
    # Factors of the features after pool1, pool2, pool3; None: 1 for torchvision's file, 1 / their mean for any other
    vgg_scale: tuple[float, float, float] | None = None

    # Loss of stage inpainting, which perceptual_weight 0 leaves without VGG too; Liu et al. 2018, Section 3.3
    inpainting_valid: float = Field(default=1.0, ge=0.0, le=1e6)
    inpainting_hole: float = Field(default=6.0, ge=0.0, le=1e6)
    inpainting_perceptual: float = Field(default=0.05, ge=0.0, le=1e6)
    inpainting_style: float = Field(default=120.0, ge=0.0, le=1e6)
    inpainting_total_variation: float = Field(default=0.1, ge=0.0, le=1e6)

    # Data
    validation_patches: int = Field(default=256, ge=1)  # read at each validation, at most
    workers: int | None = Field(default=None, ge=0)  # processes that read; None: none for a CPU, up to 8 for a GPU

    # Computing: none of it changes what is computed, but for the last digits
    accumulate: int = Field(default=1, ge=1)  # parts in which each process takes its share of a step; for less memory
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # of the features; auto: bfloat16 on a GPU that has it
    compile: Literal["auto"] | StrictBool = "auto"  # torch.compile; auto: not, it was slower on a CPU
    deterministic: StrictBool = False  # the same numbers in each run on a GPU too, for less speed

    # Bookkeeping, in steps
    log_every: int = Field(default=50, ge=1)
    validate_every: int = Field(default=1000, ge=1)
    checkpoint_every: int = Field(default=1000, ge=1)
    keep_checkpoints: int = Field(default=3, ge=1)  # 0.3 GB each at the paper's width

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_booleans(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and info.field_name not in SWITCHES:
            raise ValueError("a number is asked for")  # pydantic's own takes no TypeError
        return value

    @model_validator(mode="before")
    @classmethod
    def _take_alpha_from_preset(cls, values: Any) -> Any:
        return with_preset(values)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError("both betas must be in [0, 1)")
        if self.vgg_scale is not None and not all(0.0 < factor <= 1e6 for factor in self.vgg_scale):
            raise ValueError("the factors of vgg_scale must be above 0")
        if self.stage != "inpainting" and self.reconstruction_weight == 0.0 and not self.perceptual():
            raise ValueError("the weights of the loss leave nothing to minimise")
        if self.batch_size % self.accumulate:
            raise ValueError(f"{self.batch_size} patches a step cannot be accumulated in {self.accumulate} equal parts")
        if self.minimum_rate > self.learning_rate:
            raise ValueError(f"minimum_rate {self.minimum_rate} is above learning_rate {self.learning_rate}")
        if self.stage != "hdr" and self.augment != "none":
            raise ValueError("augment is of stage hdr alone: photographs are cut and mirrored anew in any case")
        if self.stage == "inpainting" and not self.inpainting_valid + self.inpainting_hole:
            raise ValueError("the weights of the inpainting loss leave nothing to reconstruct")
        return self

    def perceptual(self) -> bool:
        """Say whether the loss has perceptual terms, which need VGG."""
        if self.stage == "inpainting":
            return self.perceptual_weight > 0.0 and self.inpainting_perceptual + self.inpainting_style > 0.0
        return self.perceptual_weight > 0.0 and (self.vgg_weight > 0.0 or self.style_weight > 0.0)

    def inpainting_weights(self) -> InpaintingWeights:
        """Return the weights of stage inpainting."""
        return InpaintingWeights(
            self.inpainting_valid,
            self.inpainting_hole,
            self.inpainting_perceptual,
            self.inpainting_style,
            self.inpainting_total_variation,
        )

    def hdr_weights(self) -> HdrWeights:
        """Return the weights of Eq. 5 and 7."""
        return HdrWeights(self.reconstruction_weight, self.perceptual_weight, self.vgg_weight, self.style_weight)

    def architecture(self) -> Architecture:
        """Return what is stored beside the weights."""
        return Architecture(
            preset=self.preset, masking=self.masking, width=self.width, alpha=self.alpha, epsilon=self.epsilon
        )


def resolve(
    file: Path | None, assignments: Iterable[str], flags: Mapping[str, object], stored: TrainSettings | None
) -> TrainSettings:
    """Join all places where a setting may be given: flag > `--set` > file > the resumed run's > default.

    A flag that is None was not given. Raises UsageError or ConfigError with one sentence.
    """
    values: dict[str, object] = {} if stored is None else stored.model_dump()
    values |= {} if file is None else read_section(file)
    values |= dict(map(parse_assignment, assignments))
    values |= {name: value for name, value in flags.items() if value is not None}
    settings = validate(values)
    if stored is not None:
        refuse_changes(stored, settings)
    return settings


def validate(values: Mapping[str, object]) -> TrainSettings:
    """Return the settings, or raise a ConfigError that names the first one that cannot be."""
    try:
        return TrainSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "extra_forbidden":
        near = get_close_matches(name, TrainSettings.model_fields, n=1)
        hint = (
            f"; did you mean {SECTION}.{near[0]}?" if near else f"; known are {', '.join(TrainSettings.model_fields)}"
        )
        raise ConfigError(f"there is no setting {SECTION}.{name}{hint}")
    problem = first["msg"].removeprefix("Value error, ")
    where = f"{SECTION}.{name} = {first['input']!r}" if name else SECTION
    raise ConfigError(f"{where}: {problem[:1].lower()}{problem[1:]}")


def read_section(file: Path) -> dict[str, object]:
    """Return section `train` of a YAML file, empty where there is none."""
    try:
        document: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not YAML: {' '.join(str(error).split())}") from error
    section = document.get(SECTION) if isinstance(document, dict) else document
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise ConfigError(f"{file}: section {SECTION} must hold settings, one `name: value` a line")
    return {str(name): value for name, value in section.items()}


def parse_assignment(text: str) -> tuple[str, object]:
    """Split `train.name=value` of `--set`; the value is read as YAML, so that lists are possible."""
    key, equals, value = text.partition("=")
    section, _, name = key.strip().partition(".")
    if not equals or section != SECTION or not name:
        raise UsageError(f"--set {text}: expected {SECTION}.NAME=VALUE, the settings of this command")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {text}: the value is not YAML") from error


def refuse_changes(stored: TrainSettings, settings: TrainSettings) -> None:
    """Raise a UsageError if a resumed run would become another one."""
    for name in FIXED:
        before, now = getattr(stored, name), getattr(settings, name)
        if before != now:
            raise UsageError(
                f"the run was made with {SECTION}.{name} = {before}, not {now}: "
                "leave the setting out to resume it, or start another run with another --out"
            )
