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
    """Return the mean of each metric over the pairs where it is defined, their number, and what they share."""
    averages: dict[str, Record] = {}
    pairs = list(found.values())
    for name in pairs[0]:
        quantity = quantity_of(name)
        numbers = [number for pair in pairs if not math.isnan(number := headline({name: pair[name]})[name])]
        mean = math.fsum(numbers) / len(numbers) if numbers else None
        shared = {
            key: value for key, value in pairs[0][name].items() if all(pair[name].get(key) == value for pair in pairs)
        }
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
    yield from scales(records)
    gamma = next(iter(records.values())).get("test_gamma", "differs")
    if gamma == "differs":
        yield "test pictures: HDR and LDR ones"
    else:
        yield "test picture: HDR" if gamma is None else f"test picture: LDR, linearised as V^{gamma:g}"
    if any(name.endswith(CORRECTED) for name in records):
        yield f"{CORRECTED}: after the CRF correction of Hanji et al. 2022; a score of its own, not to be mixed"
    for name, record in records.items():
        if "reason" in record:
            yield f"{name}: {record['reason']}"


def scales(records: Mapping[str, Record]) -> Iterator[str]:
    """Yield each scale that occurs, with the metrics it was used for, the rarest first."""
    names: dict[str, list[str]] = {}
    for name, record in records.items():
        factor = record.get("factor", 1.0)  # means have none: it differs from pair to pair
        times = "" if factor == 1.0 else f", both pictures times {factor:.6g}"
        names.setdefault(f"{record['scale']}{times}", []).append(name)
    *rarer, (commonest, _) = sorted(names.items(), key=lambda item: len(item[1]))
    for scale, of in rarer:
        yield f"scale of {', '.join(of)}: {scale}"
    yield f"scale{' of all others' if rarer else ''}: {commonest}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows, the first of them the head, as lines of equal columns; columns of numbers stand to the right."""
    columns = [_justified(column) for column in zip(*rows, strict=True)]
    return ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]


def _justified(column: Sequence[str]) -> list[str]:
    width = max(map(len, column))
    numbers = all(cell == "-" or cell.removeprefix("-")[:1].isdigit() or cell == "inf" for cell in column[1:])
    numbers = numbers and any(cell != "-" for cell in column[1:])
    return [cell.rjust(width) if numbers else cell.ljust(width) for cell in column]
