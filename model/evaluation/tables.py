"""Tables 1 and 2 of Santos et al. 2020, as CSV for programs and Markdown for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from model.evaluation.labels import digits, label
from model.evaluation.methods import Method
from model.evaluation.notes import notes
from model.evaluation.results import Results
from model.evaluation.scoring import MetricSettings
from model.evaluation.sections import Cell, Published, Row, TableSection, cell
from model.evaluation.statistics import difference, estimate
from model.metrics import CORRECTED
from pipeline.bank.files import replace_file
from pipeline.errors import UsageError

TableName = Literal["table1", "table2"]
TITLES: dict[TableName, str] = {
    "table1": "Table 1: methods on the test set",
    "table2": "Table 2: masking and pre-training",
}

# Santos et al. 2020: method, MSE, HDR-VDP-2. Of their own 75 pictures.
PUBLISHED: dict[TableName, list[Published]] = {
    "table1": [
        Published(method="Endo et al. 2017", mse=0.0390, hdr_vdp_2=55.67),
        Published(method="Eilertsen et al. 2017", mse=0.0387, hdr_vdp_2=59.11),
        Published(method="Marnerides et al. 2018", mse=0.0474, hdr_vdp_2=54.31),
        Published(method="Santos et al. 2020", mse=0.0356, hdr_vdp_2=63.18),
    ],
    "table2": [
        Published(method="SConv + HDR pre-training", mse=0.0402, hdr_vdp_2=58.43),
        Published(method="SConv + Inp. pre-training", mse=0.0374, hdr_vdp_2=60.03),
        Published(method="GConv + HDR pre-training", mse=0.0398, hdr_vdp_2=53.32),
        Published(method="GConv + Inp. pre-training", mse=0.1017, hdr_vdp_2=43.13),
        Published(method="IMask + HDR pre-training", mse=0.0398, hdr_vdp_2=58.39),
        Published(method="IMask + Inp. pre-training", mse=0.0369, hdr_vdp_2=61.27),
        Published(method="FMask + HDR pre-training", mse=0.0393, hdr_vdp_2=58.81),
        Published(method="FMask + Inp. pre-training", mse=0.0356, hdr_vdp_2=63.18),
    ],
}

COLUMNS = (
    *("method", "metric", "pictures", "scenes", "mean", "low", "high", "median"),
    *("versus", "difference", "difference_low", "difference_high"),
)


def make_table(name: TableName, results: Results, settings: MetricSettings, versus: str | None) -> TableSection:
    """Return a table over the pictures that all methods have. Raises UsageError where `versus` names no method."""
    against = pick_versus(results.complete, versus)
    common = results.common
    scenes = [picture.scene for picture in common]
    rows = []
    for method in results.methods:
        lost = sum(not results.has(method, picture) for picture in results.testset.pictures)
        cells = {}
        if method in results.complete and common and against:
            cells = {metric: _cell(results, metric, method, against, scenes) for metric in results.metrics}
        rows.append(Row(method=method.name, facts=dict(method.facts), cells=cells, missing=lost))
    return TableSection(
        name=name,
        testset=results.testset.fingerprint(),
        title=TITLES[name],
        versus=against.name if against else "",
        metrics=results.metrics,
        pictures=len(common),
        scenes=len(set(scenes)),
        rows=rows,
        published=PUBLISHED[name],
        notes=notes(results, settings),
    )


def pick_versus(methods: Sequence[Method], wanted: str | None) -> Method | None:
    """Return the method that the others are compared with: the named one, else the first network, else the first."""
    for method in methods:
        if method.name == wanted:
            return method
    if wanted is not None:
        raise UsageError(f"--versus {wanted}: name one of {', '.join(m.name for m in methods) or 'the methods'}")
    return next((m for m in methods if m.kind == "network"), methods[0] if methods else None)


def _cell(results: Results, metric: str, method: Method, against: Method, scenes: Sequence[str]) -> Cell:
    own = results.values(method, metric, results.common)
    other = None
    if method != against:
        other = difference(own, results.values(against, metric, results.common), scenes)
    return cell(estimate(own, scenes), other)


def write_table(out: Path, table: TableSection) -> list[Path]:
    """Write OUT/NAME.csv and OUT/NAME.md, and return them."""
    texts = {out / f"{table.name}.csv": to_csv(table), out / f"{table.name}.md": to_markdown(table)}
    for file, text in texts.items():
        _write(file, text)
    return list(texts)


def to_csv(table: TableSection) -> str:
    """Return a table with one line a method and metric; what cannot be told is empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in table.rows:
        for metric, entry in row.cells.items():
            told = {"method": row.method, "metric": metric, "pictures": table.pictures, "scenes": table.scenes}
            writer.writerow(told | {"versus": table.versus} | entry.model_dump())
    return stream.getvalue()


def to_markdown(table: TableSection) -> str:
    """Return a table for people: means with their intervals, then differences, then what may be compared."""
    parts = [f"# {table.title}", f"{table.pictures} pictures of {table.scenes} scenes; means with 95 % intervals."]
    plain = [m for m in table.metrics if not m.endswith(CORRECTED)]
    parts.append(_grid(table, plain, difference=False))
    corrected = [m for m in table.metrics if m.endswith(CORRECTED)]
    if corrected:
        parts += ["After correction of the camera's curve:", _grid(table, corrected, difference=False)]
    if len(table.rows) > 1 and table.versus:
        parts += [
            f"Mean difference to {_cell_text(table.versus)}, paired by picture:",
            _grid(table, plain, difference=True),
        ]
    parts += ["## What the numbers may be compared with", "\n".join(f"- {note}" for note in table.notes)]
    lines = ["| Published (Santos et al. 2020), of other pictures | MSE | HDR-VDP-2 |", "|---|---|---|"]
    lines += [f"| {row.method} | {row.mse:.4f} | {row.hdr_vdp_2:.2f} |" for row in table.published]
    return "\n\n".join([*parts, "\n".join(lines)]) + "\n"


def _grid(table: TableSection, metrics: Sequence[str], difference: bool) -> str:
    lines = ["| Method | " + " | ".join(label(m) for m in metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    for row in table.rows:
        if difference and row.method == table.versus:
            continue
        texts = [show(row.cells.get(metric), metric, difference) for metric in metrics]
        lines.append(f"| {_cell_text(row.method)} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def show(entry: Cell | None, metric: str, difference: bool = False) -> str:
    """Return `mean [low, high]`, or that of the difference; `none` where there is none."""
    if entry is None:
        return "none"
    names = ("difference", "difference_low", "difference_high") if difference else ("mean", "low", "high")
    mean, low, high = (getattr(entry, name) for name in names)
    sign = "+" if difference else ""
    if mean is None:
        return "none"
    form = f"{sign}.{digits(metric)}f"
    return f"{mean:{form}}" + ("" if low is None or high is None else f" [{low:{form}}, {high:{form}}]")


def write_pictures(out: Path, name: str, results: Results) -> Path:
    """Write OUT/NAME-pictures.csv: every number of every picture, for statistics of one's own."""
    stream = io.StringIO()
    head = ["method", "picture", "scene", "saturated_pixels", "saturated_values", *results.metrics, "reason"]
    writer = csv.DictWriter(stream, head, lineterminator="\n")
    writer.writeheader()
    for method in results.methods:
        for picture in results.testset.pictures:
            score = results.scores[method.name, picture.name]
            told: dict[str, str | float | None] = {"method": method.name, "picture": picture.name}
            told |= {"scene": picture.scene, "reason": score.reason}
            told |= {"saturated_pixels": picture.saturated_pixels, "saturated_values": picture.saturated_values}
            writer.writerow(told | dict(score.numbers))
    file = out / f"{name}-pictures.csv"
    _write(file, stream.getvalue())
    return file


def _cell_text(text: str) -> str:
    """Keep a name from ending its cell, or being read as HTML."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _write(file: Path, text: str) -> None:
    replace_file(file, lambda beside: beside.write_text(text, encoding="utf-8"))
