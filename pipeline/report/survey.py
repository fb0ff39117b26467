"""The tables of a bank as numbers: the yield step by step, why things fall out, the yield of each source.

Legend: P patches in the order of their table, K sources in the order of theirs. Shares are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import status
from pipeline.bank import BankReader
from pipeline.bank.reader import TableFile
from pipeline.config import Settings, resolve

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]

VERDICTS: Final = ("kept", "smooth", "unsaturated")
COLUMNS: Final = [
    *("source_id", "frame", "clip_fraction", "exposure", "curve_n", "curve_sigma", "jpeg_quality"),
    *("saturated_fraction", "score", "verdict", "verdict_reason", "row"),
]
NUMBERS: Final = ("exposure", "curve_n", "curve_sigma", "jpeg_quality", "saturated_fraction", "score")
_QUANTILES: Final = {"min": 0.0, "p5": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the yield: how many there are, and what did not come so far, by reason."""

    name: str
    count: int
    lost: dict[str, int]


@dataclass(frozen=True, slots=True)
class Source:
    """One source and what came of it; all counts are of patches, but `frames`, those used."""

    source_id: str | None
    path: str
    also_at: Sequence[str]
    kind: str | None
    width: int
    height: int
    frames: int
    candidates: int
    saturated: int
    kept: int
    exported: int
    split: str | None
    licence: str | None
    attribution: str | None
    reason: str | None  # why it was rejected

    @property
    def share(self) -> float:
        """Return the share of its candidates that is kept."""
        return self.kept / self.candidates if self.candidates else 0.0


@dataclass(frozen=True, slots=True)
class Survey:
    """A bank in numbers.

    source (P,) index into `sources`, -1 where that is unknown; frame (P,); verdict (P,) index into VERDICTS, -1
    before `score`; exported (P,); numbers: each of NUMBERS (P,), NaN where null.
    """

    files: dict[str, TableFile]  # the tables that all this was counted in
    counts: status.Counts
    size: int  # bytes that the bank takes
    settings: Settings
    sources: Sequence[Source]
    flow: Sequence[Step]
    source: Indices
    frame: Indices
    verdict: npt.NDArray[np.int8]
    exported: Flags
    numbers: dict[str, Floats]

    @property
    def scored(self) -> Flags:
        """Return which patches have a score (P,)."""
        return ~np.isnan(self.numbers["score"])

    @property
    def saturated(self) -> Flags:
        """Return which patches have something to learn from (P,): what a threshold decides on, `score.judge`."""
        return self.numbers["saturated_fraction"] >= self.settings.score.min_saturated_fraction

    def spread(self) -> dict[str, dict[str, float]]:
        """Return quantiles of the numbers, those that any patch has; of the exposure in stops, log2."""
        found = {}
        for name, values in self.shown_numbers().items():
            known = values[np.isfinite(values)]
            if known.size:
                quantiles = np.quantile(known, list(_QUANTILES.values()))
                found[name] = dict(zip(_QUANTILES, quantiles.tolist(), strict=True))
        return found

    def shown_numbers(self) -> dict[str, Floats]:
        """Return the numbers as they are shown: the exposure in stops."""
        with np.errstate(divide="ignore", invalid="ignore"):
            stops = np.log2(self.numbers["exposure"])
        return {
            "score": self.numbers["score"],
            "saturated_fraction": self.numbers["saturated_fraction"],
            "exposure_stops": stops,
            "jpeg_quality": self.numbers["jpeg_quality"],
        }


def survey_bank(reader: BankReader) -> Survey:
    """Read the tables of a bank. Raises BankDamaged where they cannot be read."""
    files = reader.table_files()
    patches, sources = files["patches"].table(COLUMNS), files["sources"].table()
    settings = resolve([reader.attributes["config"]])
    counts = status.count(sources, patches)
    place = pc.index_in(patches["source_id"], value_set=sources["source_id"].combine_chunks())
    verdict = pc.index_in(patches["verdict"], value_set=pa.array(VERDICTS))
    where = _integers(place)
    known = _integers(verdict).astype(np.int8)
    exported = np.asarray(pc.is_valid(patches["row"]))
    return Survey(
        files=files,
        counts=counts,
        size=reader.storage.total(),
        settings=settings,
        sources=_sources(sources, where, known, exported),
        flow=_flow(sources, patches, counts),
        source=where,
        frame=_integers(patches["frame"]),
        verdict=known,
        exported=exported,
        numbers={name: _floats(patches[name]) for name in NUMBERS},
    )


def _sources(table: pa.Table, where: Indices, verdict: npt.NDArray[np.int8], exported: Flags) -> list[Source]:
    def tally(chosen: Flags) -> list[int]:
        return [int(n) for n in np.bincount(where[chosen & (where >= 0)], minlength=table.num_rows)]

    every, kept = tally(where >= 0), tally(verdict == VERDICTS.index("kept"))
    saturated = tally((verdict >= 0) & (verdict != VERDICTS.index("unsaturated")))
    out = tally(exported & (verdict == VERDICTS.index("kept")))
    found = []
    for i, row in enumerate(table.to_pylist()):
        told: dict[str, Any] = {
            name: row[name] for name in ("source_id", "path", "kind", "split", "licence", "attribution")
        }
        sizes: dict[str, Any] = {
            "width": row["width"] or 0,
            "height": row["height"] or 0,
            "frames": row["frames_used"] or 0,
        }
        numbers: dict[str, Any] = {
            "candidates": every[i],
            "saturated": saturated[i],
            "kept": kept[i],
            "exported": out[i],
        }
        reason = (row["reason"] or "no reason was noted") if row["status"] == "rejected" else None
        found.append(Source(**told, **sizes, **numbers, also_at=row["also_at"] or [], reason=reason))
    return found


def _flow(sources: pa.Table, patches: pa.Table, counts: status.Counts) -> list[Step]:
    kept, smooth, unsaturated = (counts[verdict] for verdict in VERDICTS)
    used = sources.filter(pc.equal(sources["status"], "ok"))
    rejected = sources.filter(pc.equal(sources["status"], "rejected"))
    waiting = {"not scored yet": counts["candidates"] - counts["scored"]}
    out = counts["exported"] - counts["no_longer_kept"]
    return [
        Step("sources", counts["sources"], _tally(rejected["reason"])),
        Step("frames", pc.sum(used["frames_used"]).as_py() or 0, {}),
        Step("candidates", counts["candidates"], {}),
        Step("saturated", kept + smooth, _positive(waiting | _why(patches, "unsaturated", unsaturated))),
        Step("kept", kept, _why(patches, "smooth", smooth)),
        Step("exported", out, _positive({"kept, but not exported": kept - out})),
    ]


def _why(patches: pa.Table, verdict: str, count: int) -> dict[str, int]:
    """Return why patches got a verdict, by the table's own words."""
    if not count:
        return {}
    some = patches.filter(pc.fill_null(pc.equal(patches["verdict"], verdict), False))
    return {f"{verdict}: {reason}": number for reason, number in _tally(some["verdict_reason"]).items()}


def _tally(texts: pa.ChunkedArray) -> dict[str, int]:
    counted = pc.value_counts(pc.fill_null(texts, "no reason was noted")).to_pylist()
    ordered = sorted(counted, key=lambda entry: (-entry["counts"], entry["values"]))
    return {entry["values"]: entry["counts"] for entry in ordered}


def _positive(counts: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count > 0}


def _integers(column: Any) -> Indices:
    return np.asarray(pc.fill_null(column, -1)).astype(np.int64)


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(pc.fill_null(column.cast(pa.float64()), float("nan")))
