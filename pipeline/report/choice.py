"""Which patches are shown: contact sheets, a ladder over all scores, and the best patch of each source.

Legend: a position is an index into the patches table; P patches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.records import derive_seed, generator
from pipeline.report.survey import VERDICTS, Flags, Indices, Survey

SHEET = 24  # patches of a contact sheet
LADDER, PORTRAITS = 6, 4  # how many sheets' worth of patches climb the scores, and stand for their sources
PER_FRAME = 4  # patches of a frame on a sheet, as long as other frames have some: neighbours look alike


@dataclass(frozen=True, slots=True)
class Choice:
    """Positions of patches. `ladder` has what stands around any threshold, by score."""

    sheets: dict[str, list[int]]
    ladder: list[int]
    portraits: list[int]

    def positions(self) -> list[int]:
        """Return all positions, each once, in the order of the table."""
        sheets = (position for sheet in self.sheets.values() for position in sheet)
        return sorted({*sheets, *self.ladder, *self.portraits})


def choose(survey: Survey, sheet: int = SHEET) -> Choice:
    """Choose what is shown, `sheet` patches a contact sheet: a function of the tables and the seed alone."""
    score, kept = survey.numbers["score"], survey.verdict == VERDICTS.index("kept")
    smooth = survey.verdict == VERDICTS.index("smooth")
    rising = np.lexsort((score, survey.scored))  # what has no score yet comes first: it is nobody's best
    ready = ~np.isnan(survey.numbers["exposure"])
    rng = generator(derive_seed(survey.settings.ingest.seed, "", 0, 0, "report"))
    sheets = {
        "best": _pick(survey, _of(rising[::-1], kept), sheet),
        "worst kept": _pick(survey, _of(rising, kept), sheet),
        "best rejected": _pick(survey, _of(rising[::-1], smooth), sheet),
        "random": sorted(rng.permutation(np.flatnonzero(ready))[:sheet].tolist()),
    }
    return Choice(sheets, _ladder(survey, rising, LADDER * sheet), _portraits(survey, rising, PORTRAITS * sheet))


def _of(order: Indices, wanted: Flags) -> Indices:
    return order[wanted[order]]


def _pick(survey: Survey, order: Indices, most: int) -> list[int]:
    """Return the first positions of an order, few of any frame as long as there are others."""
    seen: Counter[tuple[int, int]] = Counter()
    picked, passed = list[int](), list[int]()
    for position in order.tolist():
        frame = (int(survey.source[position]), int(survey.frame[position]))
        if len(picked) == most:
            break
        if seen[frame] < PER_FRAME:
            seen[frame] += 1
            picked.append(position)
        elif len(passed) < most:
            passed.append(position)
    return _in_order(order, [*picked, *passed][:most])


def _in_order(order: Indices, picked: Sequence[int]) -> list[int]:
    wanted = set(picked)
    return [position for position in order.tolist() if position in wanted] if wanted else []


def _ladder(survey: Survey, rising: Indices, most: int) -> list[int]:
    """Return patches that a threshold decides on, rising.

    Three quarters of them are spread evenly over all, by rank; the others lie next to the bank's threshold.
    """
    candidates = _of(rising, survey.saturated & survey.scored)
    if not candidates.size or not most:
        return []
    spread = np.linspace(0, len(candidates) - 1, 3 * most // 4).astype(int).tolist()
    middle = int(np.searchsorted(survey.numbers["score"][candidates], survey.settings.score.threshold))
    near = range(max(0, middle - most // 8), min(len(candidates), middle + most // 8))
    return [int(candidates[place]) for place in sorted({*spread, *near})]


def _portraits(survey: Survey, rising: Indices, most: int) -> list[int]:
    """Return the patch of the highest score of each source, of the sources with the largest yield."""
    usable = _of(rising, (survey.source >= 0) & ~np.isnan(survey.numbers["exposure"]))
    best = dict(zip(survey.source[usable].tolist(), usable.tolist(), strict=True))  # the last one of each stays
    ranked = sorted(best, key=lambda source: (-survey.sources[source].kept, survey.sources[source].path))
    return [best[source] for source in ranked[:most]]
