"""The page's parts as HTML: what needs no script. Every name and text of a bank is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

from pipeline.figures import own_ids
from pipeline.report.charts import Chart
from pipeline.report.embedding import Pictures, short_names
from pipeline.report.likeness import NEAR
from pipeline.report.provenance import COMMAND_FILE, SETTINGS_FILE, Provenance
from pipeline.report.survey import Source, Step, Survey

LISTED = 400  # sources in the table
REJECTED = 2000  # sources in the table of these
REASONS = 8  # of one step
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def flow(survey: Survey) -> str:
    """Return the yield step by step, each with what was lost on the way to it."""
    heights = _heights(survey)
    steps = zip(survey.flow, heights, [*heights[1:], heights[-1]], strict=True)
    return f'<ol class="flow">{"".join(_step(*step, survey) for step in steps)}</ol>'


def _heights(survey: Survey) -> list[float]:
    """Return how much of it is left at each step: of all sources, then of all candidates."""
    sources, _, candidates, *later = (step.count for step in survey.flow)
    used = (sources - survey.counts["rejected"]) / sources if sources else 0.0
    return [1.0, used, used, *(used * count / candidates if candidates else 0.0 for count in later)]


def _step(step: Step, height: float, following: float, survey: Survey) -> str:
    top, after = 100 - 100 * height, 100 - 100 * following
    ribbon = f"M0 100V{top:.2f}H45C75 {top:.2f} 70 {after:.2f} 100 {after:.2f}V100Z"
    reasons = list(step.lost.items())
    lost = "".join(f"<li><b>&minus;{count:,}</b> {escape(reason)}</li>" for reason, count in reasons[:REASONS])
    if len(reasons) > REASONS:
        lost += f"<li>and {len(reasons) - REASONS} more reasons: hdrprep failures</li>"
    return (
        f'<li><svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true"><path d="{ribbon}"/></svg>'
        f'<span class="name">{step.name}</span><strong>{step.count:,}</strong>'
        f"<small>{escape(_share_of(step, survey))}</small>{f'<ul>{lost}</ul>' if lost else ''}</li>"
    )


def _share_of(step: Step, survey: Survey) -> str:
    candidates, kept = survey.counts["candidates"], survey.counts["kept"]
    if step.name == "frames":
        kinds = sorted({source.kind for source in survey.sources if source.reason is None and source.kind})
        return f"of {', '.join(f'{kind}s' for kind in kinds)}" if kinds else ""
    if step.name == "candidates":
        frames = survey.flow[1].count
        return f"{candidates / frames:,.4g} a frame" if frames else ""
    if step.name in ("saturated", "kept") and candidates:
        return f"{100 * step.count / candidates:.1f} % of the candidates"
    return f"{100 * step.count / kept:.1f} % of the kept" if step.name == "exported" and kept else ""


def histogram(bars: Sequence[int]) -> str:
    """Return the path of the bars in a box of 1000x200, one bar beside the other."""
    highest = max([*bars, 1])
    width = 1000 / len(bars)
    parts = [f"V{200 - 196 * count / highest:.2f}H{(i + 1) * width:.2f}" for i, count in enumerate(bars)]
    return f"M0 200{''.join(parts)}V200Z"


def ticks(top: float) -> str:
    """Return the labels of the score's axis, which is its square root."""
    shown, last = list[str](), 0.0
    for value in _TICKS:
        place = 100 * (value / top) ** 0.5
        if place - last >= 7 and place <= 97:
            shown.append(f'<span style="left:{place:.2f}%">{value:g}</span>')
            last = place
    return '<span style="left:0%">0</span>' + "".join(shown)


def distributions(charts: Sequence[Chart]) -> str:
    """Return the charts."""
    figures = []
    for i, chart in enumerate(charts):
        drawn = chart.svg.replace("<svg", f'<svg role="img" aria-label="{escape(chart.told)}"', 1)
        figures.append(f"<figure><figcaption>{escape(chart.title)}</figcaption>{own_ids(drawn, f'c{i}')}</figure>")
    return f'<div class="charts">{"".join(figures)}</div>'


def sources(survey: Survey, pictures: Pictures) -> str:
    """Return the used sources, best yield first, and the rejected ones."""
    named = list(zip(short_names(survey.sources), survey.sources, range(len(survey.sources)), strict=True))
    used = sorted((e for e in named if e[1].reason is None), key=lambda e: (-e[1].share, -e[1].kept, e[0]))
    rows = "".join(_source(name, source, pictures.portraits.get(i)) for name, source, i in used[:LISTED])
    heads = "".join(f'<th scope="col">{head}</th>' for head in _HEADS)
    more = ""
    if len(used) > LISTED:
        more = f"<p>{len(used) - LISTED:,} more sources: hdrprep status --json has them all.</p>"
    lost = _rejected([(name, source.reason) for name, source, _ in named if source.reason is not None])
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"
    return f"{_scroll('Sources by yield', table)}{more}{lost}" if rows or lost else "<p>There is none yet.</p>"


def _rejected(reasons: Sequence[tuple[str, str]]) -> str:
    if not reasons:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(reason)}</td></tr>' for name, reason in reasons[:REJECTED]
    )
    more = ""
    if len(reasons) > REJECTED:
        more = f"<p>{len(reasons) - REJECTED:,} more sources: hdrprep failures lists them all.</p>"
    table = _scroll("Rejected sources", f'<table class="rejected">{rows}</table>')
    return f"<h3>Rejected</h3>{table}{more}"


_HEADS = ("Source", "Kept share", "", "Kept", "Frames", "Exported", "Split", "Licence")


def _source(name: str, source: Source, portrait: str | None) -> str:
    image = f'<img src="{quote(portrait)}" alt="" loading="lazy">' if portrait else '<span class="blank"></span>'
    licence = ", ".join(filter(None, (source.licence, source.attribution))) or "unknown"
    bar = f'<span class="bar"><i style="width:{100 * source.share:.1f}%"></i></span>'
    cells = (
        f"{100 * source.share:.1f} %",
        bar,
        f"{source.kept:,} of {source.candidates:,}",
        f"{source.frames:,}",
        f"{source.exported:,}",
        escape(source.split or ""),
        f'<span class="long">{escape(licence)}</span>',
    )
    head = f'<th scope="row" title="{escape(source.path)}">{image}<span class="long">{escape(name)}</span></th>'
    return f"<tr>{head}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def duplicates(survey: Survey, pictures: Pictures) -> str:
    """Return what lies at several places, and which sources look alike."""
    names = short_names(survey.sources)
    same = [
        f"<li>{escape(source.path)} also lies at {escape(', '.join(source.also_at))}</li>"
        for source in survey.sources
        if source.also_at
    ]
    pairs = "".join(
        f'<li class="pair">{_portrait(pictures, a)}{_portrait(pictures, b)}<span>{escape(names[a])} and '
        f"{escape(names[b])}<small>{bits} of 63 bits differ</small></span></li>"
        for a, b, bits in pictures.alike
    )
    rule = (
        f"Two sources look alike where at most {NEAR} of the 63 bits differ that stand for the lowest frequencies of "
        f"log luminance, of one frame of each. {pictures.compared:,} sources were compared."
    )
    listed = f"<ul>{''.join(same)}</ul>" if same else "<p>None: each content is one source.</p>"
    seen = f'<ul class="pairs">{pairs}</ul>' if pairs else "<p>None was found.</p>"
    return f'<h3>Equal content</h3>{listed}<h3>Alike to the eye</h3>{seen}<p class="quiet">{rule}</p>'


def _portrait(pictures: Pictures, source: int) -> str:
    portrait = pictures.portraits.get(source)
    return f'<img src="{quote(portrait)}" alt="" loading="lazy">' if portrait else ""


def provenance(found: Provenance) -> str:
    """Return what the bank was made with, and the command that makes it again."""
    facts = {"Format version": str(found.format_version), "Seed": str(found.seed)}
    return (
        f"{_facts(facts)}<h3>Made again by</h3>"
        f'<pre tabindex="0">{escape(found.command)}</pre>'
        f'<p class="quiet">The same stands in <a href="{COMMAND_FILE}">{COMMAND_FILE}</a> beside this page, and the '
        f'configuration in <a href="{SETTINGS_FILE}">{SETTINGS_FILE}</a>.</p>'
        + _details("Configuration", f'<pre tabindex="0">{escape(found.settings)}</pre>')
        + _details("Versions", _facts(found.versions))
        + f"<h3>Fingerprints, SHA-256</h3>{_facts(found.fingerprints, 'hash')}"
    )


def _facts(facts: Mapping[str, str], kind: str = "") -> str:
    entries = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f'<dl class="facts {kind}">{entries}</dl>'


def _details(heading: str, body: str) -> str:
    return f"<details><summary>{escape(heading)}</summary>{body}</details>"


def _scroll(name: str, table: str) -> str:
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{table}</div>'
