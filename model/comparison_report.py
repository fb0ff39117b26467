"""What `compare` found, as tables for people and as JSON for machines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from model.metrics import CORRECTED, headline, quantity_of
from model.metrics.result import Record

INFINITE = "infinite: the pictures do not differ where this metric looks"


def json_ready(records: Mapping[str, Record]) -> dict[str, Record]:
    """Return records that are valid JSON: an infinite number becomes null, with the reason beside it."""
    ready = {}
    for name, record in records.items():
        quantity = quantity_of(name)
        value = record[quantity]
        infinite = isinstance(value, float) and math.isinf(value)
        ready[name] = {**record, quantity: None, "reason": INFINITE} if infinite else dict(record)
    return ready


def means(found: Mapping[str, Mapping[str, Record]]) -> dict[str, Record]:
    """Return the mean of each metric over the pairs where it is defined, their number, and the conditions they share."""
    averages: dict[str, Record] = {}
    pairs = list(found.values())
    for name in pairs[0]:
        quantity = quantity_of(name)
        numbers = [number for pair in pairs if not math.isnan(number := headline({name: pair[name]})[name])]
        mean = math.fsum(numbers) / len(numbers) if numbers else None
        shared = {key: value for key, value in pairs[0][name].items() if all(pair[name].get(key) == value for pair in pairs)}
        averages[name] = {**shared, quantity: mean, "pairs": len(numbers)}
        if mean is None:
            averages[name]["reason"] = "it is defined for none of the pairs"
    return averages


def pair_text(records: Mapping[str, Record]) -> str:
    """Return a table of one pair: a metric a line, with its unit and conditions, and the scale of all below."""
    head = ("metric", "value", "unit", "version", "ppd", "encoding")
    rows = [(name, shown(value), *conditions(name, records[name])) for name, value in headline(records).items()]
    return "\n".join([*aligned([head, *rows]), "", *footer(records)]) + "\n"


def folder_text(found: Mapping[str, Mapping[str, Record]], averages: Mapping[str, Record]) -> str:
    """Return a line a pair and the means, without and with the correction, and the conditions of every metric."""
    blocks: list[str] = []
    for corrected in (False, True):
        names = [name for name in averages if name.endswith(CORRECTED) == corrected]
        if not names:
            continue
        rows = [(pair, *(shown(headline(records)[name]) for name in names)) for pair, records in found.items()]
        mean = ("mean", *(shown(headline(averages)[name]) for name in names))
        blocks += [*aligned([("", *names), *rows, mean]), ""]
    head = ("metric", "unit", "version", "ppd", "encoding")
    blocks += [*aligned([head, *((name, *conditions(name, averages[name])) for name in averages)]), ""]
    return "\n".join([*blocks, *footer(averages)]) + "\n"


def conditions(name: str, record: Record) -> tuple[str, str, str, str]:
    """Return unit, version, pixels per degree and encoding of a metric as cells of a table."""
    quantity = quantity_of(name)
    unit = quantity if quantity in ("dB", "JOD") else "1"
    ppd = record["ppd"]
    return unit, str(record["version"]), "-" if ppd is None else f"{ppd:g}", str(record["encoding"])


def shown(value: float) -> str:
    """Return a number for a table: four decimals, a dash where a metric is not defined."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def footer(records: Mapping[str, Record]) -> Iterator[str]:
    """Yield what holds for many metrics at once: scale, how the test picture was read, and what is not defined."""
    by_scale: dict[str, list[str]] = {}
    for name, record in records.items():
        factor = record.get("factor", 1.0)
        told = str(record["scale"]) + ("" if factor == 1.0 else f", both times {factor:.6g}")
        by_scale.setdefault(told, []).append(name)
    for scale, names in by_scale.items():
        yield f"scale: {scale}{'' if len(by_scale) == 1 else ': ' + ', '.join(names)}"
    gammas = {record.get("test_gamma", "mixed") for record in records.values()}
    for gamma in gammas:
        yield f"test picture: {'HDR' if gamma is None else gamma if gamma == 'mixed' else f'LDR, linearised as V^{gamma:g}'}"
    if any(name.endswith(CORRECTED) for name in records):
        yield f"{CORRECTED}: of the test picture after CRF correction (Hanji et al. 2022); another score, not to be mixed"
    for name, record in records.items():
        if "reason" in record:
            yield f"{name}: {record['reason']}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines of equal columns; numbers stand to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) if _is_number(cell) else cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def _is_number(cell: str) -> bool:
    return cell in ("-", "inf") or cell.lstrip("-").replace(".", "", 1).isdigit()
