"""The report's one page. It opens from the disk, asks no server for anything, and holds no text unescaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from pipeline.report import sections
from pipeline.report.charts import Chart
from pipeline.report.choice import PER_FRAME, Choice
from pipeline.report.embedding import Pictures, embed
from pipeline.report.provenance import Provenance
from pipeline.report.survey import Survey
from pipeline.report.threshold import BARS, EXACT, threshold_data

GENERATOR = '<meta name="generator" content="hdrprep report">'  # by which a page of ours is known


def make_page(
    name: str, survey: Survey, found: Provenance, choice: Choice, pictures: Pictures, charts: Sequence[Chart]
) -> str:
    """Return the page of the bank that people know by `name`."""
    told = threshold_data(survey)
    parts = [
        ("yield", "Yield", sections.flow(survey)),
        ("threshold", "Threshold", _threshold(told, name)),
        ("patches", "Patches", _sheets(pictures)),
        ("numbers", "Distributions", _charts(charts)),
        ("sources", "Sources by yield", sections.sources(survey, pictures)),
        ("duplicates", "Duplicates", sections.duplicates(survey, pictures)),
        ("provenance", "Provenance", sections.provenance(found)),
    ]
    return Template(_asset("page.html")).substitute(
        generator=GENERATOR,
        css=_asset("page.css"),
        js=_asset("page.js") + _asset("patches.js"),
        title=escape(name.rstrip("/").rpartition("/")[2]),
        about=escape(_about(survey, name)),
        links="".join(f'<a href="#{key}">{escape(title)}</a>' for key, title, _ in parts),
        bodies="".join(f'<section id="{key}"><h2>{escape(title)}</h2>{body}</section>' for key, title, body in parts),
        dialog=_asset("dialog.html"),
        data=embed(survey, told, choice, pictures),
    )


def _asset(name: str) -> str:
    return files("pipeline.report").joinpath("assets", name).read_text(encoding="utf-8")


def _about(survey: Survey, name: str) -> str:
    counts = survey.counts
    used = sum(source.kept > 0 for source in survey.sources)
    size = survey.settings.crops.patch_size
    return (
        f"{counts['kept']:,} of {counts['candidates']:,} patches of {size}x{size} pixels are kept, from {used:,} of "
        f"{counts['sources']:,} sources. {name}"
    )


def _threshold(told: Mapping[str, Any] | None, name: str) -> str:
    if told is None:
        return "<p>Nothing was scored yet: hdrprep score does.</p>"
    note = "Counts and shares are exact: all patches stand in this page."
    if told["sampled"]:
        note = (
            f"Counts are exact. Shares by source are of a sample of {EXACT:,} patches out of {told['saturated']:,}, "
            "the same share of each source, drawn by the bank's seed."
        )
    return Template(_asset("threshold.html")).substitute(
        path=sections.histogram(told["bars"]),
        ticks=sections.ticks(told["top"]),
        threshold=f"{told['threshold']:g}",
        bank=escape(name),
        bars=BARS,
        note=note,
    )


def _sheets(pictures: Pictures) -> str:
    if not pictures.rows:
        return "<p>No patch is shown: the bank has none that is ready, or none was asked for.</p>"
    return Template(_asset("sheets.html")).substitute(per_frame=PER_FRAME)


def _charts(charts: Sequence[Chart]) -> str:
    legend = '<p class="legend"><span class="all">all candidates</span> <span class="kept">kept</span></p>'
    return legend + sections.distributions(charts) if charts else "<p>There are no numbers yet.</p>"
