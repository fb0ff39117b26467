"""Figures of Matplotlib as SVG that takes the colours of the page it stands in.

Matplotlib is imported where it draws: it takes a second, and most commands draw nothing.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

INK = "#010203"  # becomes the page's own text colour: no line of a figure has it otherwise
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and scaled
    "svg.hashsalt": "hdrprep",  # or its ids would differ from run to run
    "font.family": "sans-serif",
    "font.size": 11,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def new_figure(width: float, height: float, grid: tuple[int, int] | None = None) -> tuple[Any, Any]:
    """Return a figure of so many inches without the state that pyplot keeps, and its axes: one, or a grid of them."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        figure = Figure((width, height), layout="constrained")
        axes = figure.subplots() if grid is None else figure.subplots(*grid, squeeze=False)
    return figure, axes


def svg_of(figure: Any, colours: Mapping[str, str] | None = None) -> str:
    """Return a figure as an SVG element, the same text for the same figure.

    `colours` says which colours of the figure stand for which of the page's, in CSS; INK is its text colour.
    """
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context(_STYLE), missing_glyphs():
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": "hdrprep"})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    for colour, name in {INK: "currentColor", **(colours or {})}.items():
        text = text.replace(colour, name)
    return text


def own_ids(svg: str, prefix: str) -> str:
    """Return an SVG whose ids begin with `prefix-`.

    The ids of one figure in a page must not be those of another, or the marks of the first would be drawn in all.
    """
    for before in ('id="', 'href="#', "url(#"):
        svg = svg.replace(before, f"{before}{prefix}-")
    return svg


@contextmanager
def missing_glyphs() -> Iterator[None]:
    """Let a name of characters that the font lacks stand as boxes: a browser has fonts of its own for the SVG."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
