"""What a bank holds, as counts and in a few lines of text, and the sources that were rejected."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

Counts = dict[str, int]


def count(sources: pa.Table, patches: pa.Table) -> Counts:
    """Return the counts that tell how far a bank is: sources, candidates, verdicts, exported patches."""
    verdicts = {entry["values"]: entry["counts"] for entry in pc.value_counts(patches["verdict"]).to_pylist()}
    rejected = pc.sum(pc.equal(sources["status"], "rejected")).as_py() or 0
    return {
        "sources": sources.num_rows,
        "rejected": rejected,
        "candidates": patches.num_rows,
        "simulated": patches.num_rows - patches["clip_fraction"].null_count,
        "scored": patches.num_rows - patches["score"].null_count,
        "kept": verdicts.get("kept", 0),
        "smooth": verdicts.get("smooth", 0),
        "unsaturated": verdicts.get("unsaturated", 0),
        "exported": patches.num_rows - patches["row"].null_count,
        "no_longer_kept": pc.sum(no_longer_kept(patches)).as_py() or 0,
    }


def summarize(counts: Mapping[str, int], size: int) -> list[str]:
    """Return the lines that tell these counts; `size` is what the bank takes on disk, in bytes."""
    lines = [
        f"sources      {counts['sources'] - counts['rejected']} used, {counts['rejected']} rejected",
        f"candidates   {counts['candidates']}",
    ]
    behind = [stage for stage in ("simulated", "scored") if counts[stage] < counts["candidates"]]
    lines += [f"{stage:<12} {counts[stage]} of {counts['candidates']}" for stage in behind]
    if counts["scored"]:
        lines += [f"{verdict:<12} {_share(counts[verdict], counts['scored'])}" for verdict in _VERDICTS]
    lines.append(f"exported     {counts['exported']}")
    if counts["no_longer_kept"]:
        lines.append(f"             {counts['no_longer_kept']} of them no longer kept: hdrprep compact drops them")
    return [*lines, f"bank         {format_bytes(size)}"]


def no_longer_kept(patches: pa.Table) -> pa.ChunkedArray:
    """Return which patches lie in the arrays and are kept no more, by a later threshold."""
    return pc.and_(pc.is_valid(patches["row"]), pc.fill_null(pc.not_equal(patches["verdict"], "kept"), False))


def failure_lines(sources: pa.Table) -> list[str]:
    """Return the rejected sources, a line each: path and reason."""
    rejected = sources.filter(pc.equal(sources["status"], "rejected")).sort_by("path").to_pylist()
    return [f"{row['path']}: {row['reason']}" for row in rejected]


def format_bytes(count: int) -> str:
    """Return a number of bytes as people read it."""
    size, units = float(count), ["bytes", "KB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{count} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


_VERDICTS = ("kept", "smooth", "unsaturated")


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f} %)"
