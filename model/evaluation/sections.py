"""What a command leaves for the page: OUT/NAME.json, read again when another command adds to the same OUT.

A number that cannot be told is null: an interval of one scene, the PSNR of equal pictures.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from model.evaluation.statistics import Estimate
from pipeline.bank.files import replace_file

NAMES = ("table1", "table2", "fig8", "ablation")  # in the order of the page
VIEWER = "viewer.json"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cell(_Model):
    """A method's mean of a metric with its interval, and its mean difference to the method that it is compared with."""

    mean: float | None
    low: float | None
    high: float | None
    median: float | None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None


class Row(_Model):
    """A method in a table."""

    method: str
    facts: dict[str, str]
    cells: dict[str, Cell]  # by metric; empty where the method has no result
    missing: int  # pictures for which it has none


class Published(_Model):
    """A row of the paper's own table: of another test set."""

    method: str
    mse: float
    hdr_vdp_2: float


class TableSection(_Model):
    """Table 1 or 2."""

    kind: Literal["table"] = "table"
    name: Literal["table1", "table2"]
    testset: str  # fingerprint of what it is about
    title: str
    versus: str  # what differences are to
    metrics: list[str]
    pictures: int
    scenes: int
    rows: list[Row]
    published: list[Published]
    notes: list[str]


class FigureSection(_Model):
    """Fig. 8: one chart a metric, as an SVG beside the page."""

    kind: Literal["figure"] = "figure"
    name: Literal["fig8"] = "fig8"
    testset: str  # fingerprint of what it is about
    title: str
    charts: dict[str, str]  # file by metric
    bins: list[tuple[float, float, int]]  # from, to (shares), pictures
    values: dict[str, dict[str, list[Cell]]]  # metric, method: one cell a bin
    notes: list[str]


class Crop(_Model):
    """One row of crops: the same window of one picture by each method."""

    picture: str
    title: str
    x: int
    y: int
    side: int
    exposure: float  # factor by which all of the row are multiplied for display
    files: dict[str, str]  # by method, in their order


class AblationSection(_Model):
    """Figs. 10 to 12."""

    kind: Literal["ablation"] = "ablation"
    name: Literal["ablation"] = "ablation"
    testset: str  # fingerprint of what it is about
    title: str
    panel: str  # all of it as one picture
    crops: list[Crop]
    notes: list[str]


Section = Annotated[TableSection | FigureSection | AblationSection, Field(discriminator="kind")]
_SECTION: TypeAdapter[Section] = TypeAdapter(Section)


class Shown(_Model):
    """A picture in the viewer, with the preview of each method."""

    name: str
    title: str
    saturated_pixels: float
    licence: str | None
    attribution: str | None
    reference: str
    previews: dict[str, str]  # file by method
    numbers: dict[str, dict[str, float | None]]  # by method and metric


class Viewer(_Model):
    """All that the viewer shows."""

    testset: str  # fingerprint: previews of two test sets never mix
    pictures: list[Shown]


def finite(value: float) -> float | None:
    """Return a number, or None where JSON and a reader have none for it."""
    return value if math.isfinite(value) else None


def cell(own: Estimate, against: Estimate | None = None) -> Cell:
    """Return an estimate, and the estimate of its difference, as they are stored."""
    found = {name: finite(getattr(own, name)) for name in ("mean", "low", "high", "median")}
    if against is not None:
        found |= {"difference": finite(against.mean)}
        found |= {f"difference_{end}": finite(getattr(against, end)) for end in ("low", "high")}
    return Cell(**found)


def save(out: Path, name: str, model: BaseModel) -> None:
    """Write OUT/NAME, whole or not at all."""
    text = model.model_dump_json(indent=1)
    replace_file(out / name, lambda beside: beside.write_text(text, encoding="utf-8"))


def load_sections(out: Path, testset: str) -> list[Section]:
    """Return what commands on this test set left in OUT; what another version or test set left does not count."""
    found = []
    for name in NAMES:
        try:
            found.append(_SECTION.validate_json((out / f"{name}.json").read_bytes()))
        except (OSError, ValidationError):
            continue
    return [section for section in found if section.testset == testset]


def load_viewer(out: Path, testset: str) -> Viewer:
    """Return the viewer of earlier commands on this test set, or an empty one."""
    try:
        viewer = Viewer.model_validate_json((out / VIEWER).read_bytes())
    except (OSError, ValidationError):
        return Viewer(testset=testset, pictures=[])
    return viewer if viewer.testset == testset else Viewer(testset=testset, pictures=[])
