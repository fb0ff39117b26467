"""Everything in OUT as one page, OUT/index.html: tables, figures, and pictures side by side.

It opens from the disk, asks no server for anything, and holds no name or text that was not escaped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from urllib.parse import quote

from model.evaluation.labels import REFERENCE_LABEL, digits, label, lower_is_better
from model.evaluation.previews import SLOPE, STOPS
from model.evaluation.scoring import PREVIEW_SIDE
from model.evaluation.sections import (
    AblationSection,
    Cell,
    FigureSection,
    Section,
    TableSection,
    Viewer,
    load_sections,
    load_viewer,
)
from model.evaluation.tables import show
from model.evaluation.testset import TestSet
from model.metrics import CORRECTED
from pipeline.bank.files import replace_file
from pipeline.figures import own_ids

CAPTION = ("mse_gamma", "pu21_psnr", "hdr_vdp_2")  # under each picture; the tables have all


def write_page(out: Path, testset: TestSet) -> Path:
    """Write OUT/index.html of all that commands on this test set left in OUT, and return it."""
    fingerprint = testset.fingerprint()
    text = make_page(load_sections(out, fingerprint), load_viewer(out, fingerprint), testset, out)
    file = out / "index.html"
    replace_file(file, lambda beside: beside.write_text(text, encoding="utf-8"))
    return file


def make_page(sections: Sequence[Section], viewer: Viewer, testset: TestSet, out: Path) -> str:
    """Return the page. `out` is where the charts lie."""
    bodies: list[tuple[str, str, str]] = [(section.name, section.title, _section(section, out)) for section in sections]
    if viewer.pictures:
        bodies.append(("viewer", "Pictures side by side", _viewer(viewer)))
    links = "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title, _ in bodies)
    return Template(_asset("page.html")).substitute(
        css=_asset("page.css"),
        js=_asset("page.js"),
        about=escape(_about(testset)),
        links=links,
        # The same sentences stand under every table: those of the first one are open.
        bodies="".join(
            f'<section id="{name}"><h2>{escape(title)}</h2>{body}</section>' for name, title, body in bodies
        ).replace('<details class="notes">', '<details class="notes" open>', 1),
        data=_embedded(viewer),
        made=escape(", ".join(f"{name} {number}" for name, number in testset.versions.items())),
    )


def _asset(name: str) -> str:
    return files("model.evaluation").joinpath("assets", name).read_text(encoding="utf-8")


def _about(testset: TestSet) -> str:
    origin = "held-out sources of a bank" if testset.split else "a folder"
    shares = [picture.saturated_pixels for picture in testset.pictures]
    sizes = sorted((p.width, p.height) for p in testset.pictures)
    return (
        f"{len(testset.pictures)} photographs of {testset.scenes} scenes from {origin}, taken by the virtual camera "
        f"(seed {testset.seed}); {sizes[0][0]}x{sizes[0][1]} to {sizes[-1][0]}x{sizes[-1][1]} pixels, "
        f"{100 * min(shares):.1f} to {100 * max(shares):.1f} % of them saturated."
    )


def _section(section: Section, out: Path) -> str:
    if isinstance(section, TableSection):
        return _table_section(section)
    return _figure_section(section, out) if isinstance(section, FigureSection) else _ablation_section(section)


def _table_section(table: TableSection) -> str:
    plain = [m for m in table.metrics if not m.endswith(CORRECTED)]
    corrected = [m for m in table.metrics if m.endswith(CORRECTED)]
    parts = [
        f"<p>Means over {table.pictures} pictures of {table.scenes} scenes, with 95 % intervals. The best mean of each "
        "column is bold; click a head to sort.</p>",
        _grid(table, plain, "means"),
    ]
    if len(table.rows) > 1 and table.versus:
        heading = f"Differences to {table.versus}, paired by picture"
        parts.append(_details(heading, _grid(table, plain, heading, difference=True)))
    if corrected:
        heading = "After correction of the camera's curve"
        parts.append(_details(heading, _grid(table, corrected, heading)))
    parts += [_details("As published, of other pictures", _published(table)), _notes(table.notes)]
    return "".join(parts)


def _grid(table: TableSection, metrics: Sequence[str], caption: str, difference: bool = False) -> str:
    heads = "".join(
        f'<th scope="col"><button type="button">{escape(text)}</button></th>'
        for text in ("Method", *(label(metric) for metric in metrics))
    )
    best = {} if difference else {metric: _best(table, metric) for metric in metrics}
    rows = []
    for row in table.rows:
        if difference and row.method == table.versus:
            continue
        facts = ", ".join(f"{name} {value}".strip() for name, value in row.facts.items())
        facts += f"{'; ' if facts else ''}no result for {row.missing} pictures" if row.missing else ""
        cells = "".join(_cell(row.cells.get(m), m, difference, best.get(m) == row.method) for m in metrics)
        name = (
            f'<th scope="row" data-value="{escape(row.method)}">{escape(row.method)}<small>{escape(facts)}</small></th>'
        )
        rows.append(f"<tr>{name}{cells}</tr>")
    body = "".join(rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(entry: Cell | None, metric: str, difference: bool, best: bool) -> str:
    value = None if entry is None else entry.difference if difference else entry.mean
    mean, _, interval = show(entry, metric, difference).partition(" ")
    small = f"<small>{escape(interval)}</small>" if interval else ""
    told = "" if value is None else f"{value:.9g}"
    return f'<td data-value="{told}"{" class=best" if best else ""}>{escape(mean)}{small}</td>'


def _best(table: TableSection, metric: str) -> str | None:
    """Return the method with the best mean, where there are two to choose from."""
    means = {row.method: cell.mean for row in table.rows if (cell := row.cells.get(metric)) and cell.mean is not None}
    if len(means) < 2:
        return None
    choose = min if lower_is_better(metric) else max
    return choose(means, key=lambda name: means[name])


def _published(table: TableSection) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(row.method)}</th><td>{row.mse:.4f}</td><td>{row.hdr_vdp_2:.2f}</td></tr>'
        for row in table.published
    )
    return (
        '<p class="quiet">Santos et al. 2020, on 75 pictures of theirs: not to be compared with the numbers above.</p>'
        '<div class="scroll"><table><thead><tr><th scope="col">Method</th><th scope="col">MSE</th>'
        f'<th scope="col">HDR-VDP-2</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _figure_section(figure: FigureSection, out: Path) -> str:
    charts = []
    for metric, name in figure.charts.items():
        drawn = (out / name).read_text(encoding="utf-8") if (out / name).is_file() else ""
        named = drawn.replace("<svg", f'<svg role="img" aria-label="{escape(label(metric))} by saturated share"', 1)
        charts.append(f"<figure>{own_ids(named, metric)}</figure>")
    text = "Marks are means over pictures of like share, with 95 % intervals; dots are single pictures."
    return f'<p>{text}</p><div class="charts">{"".join(charts)}</div>{_notes(figure.notes)}'


def _ablation_section(section: AblationSection) -> str:
    rows = []
    for crop in section.crops:
        shown = "".join(
            f'<figure><img src="{quote(file)}" alt="{escape(crop.title)}, crop, {escape(method)}" loading="lazy">'
            f"<figcaption>{escape(method)}</figcaption></figure>"
            for method, file in crop.files.items()
        )
        where = f"{crop.side}x{crop.side} pixels at {crop.x}, {crop.y}"
        rows.append(
            f'<h3>{escape(crop.title)} <small class="quiet">{where}</small></h3>'
            f'<div class="crops" tabindex="0" role="region" aria-label="Crops of {escape(crop.title)}">{shown}</div>'
        )
    return "".join(rows) + _notes(section.notes)


def _viewer(viewer: Viewer) -> str:
    options = "".join(f"<option>{escape(p.name)}</option>" for p in viewer.pictures)
    functions = "".join(f'<feFunc{channel} type="table" tableValues="0 1"/>' for channel in "RGB")
    return Template(_asset("viewer.html")).substitute(options=options, functions=functions, side=PREVIEW_SIDE)


def _details(heading: str, body: str) -> str:
    return f"<details><summary>{escape(heading)}</summary>{body}</details>"


def _notes(notes: Sequence[str]) -> str:
    entries = "".join(f"<li>{escape(note)}</li>" for note in notes)
    heading = "What the numbers may be compared with"
    return f'<details class="notes"><summary>{heading}</summary><ul>{entries}</ul></details>'


def _embedded(viewer: Viewer) -> str:
    """Return the viewer's data as JSON that cannot end the script it stands in."""
    names: dict[str, None] = {}  # methods in the order in which they came, each once
    metrics: dict[str, None] = {}
    for picture in viewer.pictures:
        names |= dict.fromkeys(picture.previews)
        for numbers in picture.numbers.values():
            metrics |= dict.fromkeys(metric for metric in numbers if metric in CAPTION)
    pictures = []
    for picture in viewer.pictures:
        addresses = {"reference": quote(picture.reference)}
        previews = {name: quote(file) for name, file in picture.previews.items()}
        pictures.append(picture.model_dump() | addresses | {"previews": previews})
    told = {
        "slope": SLOPE,
        "stops": STOPS,
        "reference": REFERENCE_LABEL,
        "methods": list(names),
        "metrics": [{"name": m, "label": label(m).split(" ")[0], "digits": digits(m)} for m in metrics],
        "pictures": pictures,
    }
    text = json.dumps(told, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
