"""The dataset card: what a folder or a bank holds, as Croissant 1.0 (JSON-LD, https://docs.mlcommons.org/croissant).

The card is a function of the tables and the settings alone: it names no path, host, user or time. What nobody but the
user can know (who publishes, when and where) comes from the section `card` of the settings, and is left out otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
UNKNOWN = "unknown"
Json = dict[str, Any]


class CardSettings(BaseModel):
    """What the dataset card says of the whole; nothing of it changes a patch."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "HDR reconstruction patches"
    description: str | None = None  # goes before what the card says by itself
    url: str | None = None  # of the dataset's page
    version: str | None = None
    creators: tuple[str, ...] = ()  # persons
    publisher: str | None = None  # an organisation
    date_published: str | None = None  # such as 2025-01-31
    citation: str | None = None  # BibTeX


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file, by its path below the card, with its bytes and SHA-256."""

    path: str
    media_type: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """Many files, by name and patterns of their paths below the card."""

    name: str
    media_type: str
    includes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Holdings:
    """What there is to describe: the patches (rows of `table`), their sources, the files, and how pixels are stored."""

    patches: pa.Table
    sources: pa.Table
    table: StoredFile
    files: Sequence[StoredFiles]
    pixels: str


def make_card(settings: CardSettings, holdings: Holdings) -> Json:
    """Return the card of a dataset as JSON-LD."""
    licences = count_licences(holdings.patches, holdings.sources)
    splits = count_splits(holdings.patches)
    card: Json = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": settings.name,
        "description": " ".join(filter(None, [settings.description, *_describe(holdings, licences, splits)])),
        "keywords": ["HDR", "inverse tone mapping", "single-image HDR reconstruction"],
        "license": sorted({entry["licence"] for entry in licences} - {UNKNOWN}),
        "creditText": "; ".join(sorted({entry["attribution"] for entry in licences} - {UNKNOWN})),
        "url": settings.url,
        "version": settings.version,
        "creator": [{"@type": "sc:Person", "name": name} for name in settings.creators],
        "publisher": settings.publisher and {"@type": "sc:Organization", "name": settings.publisher},
        "datePublished": settings.date_published,
        "citeAs": settings.citation,
        "distribution": [_file_object(holdings.table), *map(_file_set, holdings.files)],
        "recordSet": [*_split_records(splits), _licence_records(licences), _patch_records(holdings, bool(splits))],
    }
    return {name: value for name, value in card.items() if value not in (None, "", [])}


def card_text(card: Json) -> str:
    """Return a card as it is written to croissant.json."""
    return json.dumps(card, indent=2, ensure_ascii=False) + "\n"


def count_licences(patches: pa.Table, sources: pa.Table) -> list[Json]:
    """Return licence and attribution with the number of sources and patches under them, `unknown` where null."""
    where = pc.index_in(patches["source_id"], value_set=sources["source_id"].combine_chunks())
    columns = {name: pc.fill_null(sources[name].take(where), UNKNOWN) for name in ("licence", "attribution")}
    table = pa.table({**columns, "source_id": patches["source_id"]})
    counted = table.group_by(["licence", "attribution"]).aggregate([("source_id", "count_distinct"), ([], "count_all")])
    counted = counted.rename_columns(["licence", "attribution", "sources", "patches"])
    return list(counted.sort_by([("licence", "ascending"), ("attribution", "ascending")]).to_pylist())


def count_splits(patches: pa.Table) -> dict[str, int]:
    """Return the number of patches on each side of the data split; empty where there is none."""
    if "split" not in patches.column_names:
        return {}
    counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(patches["split"].drop_null()).to_pylist()}
    return {split: counts[split] for split in _SPLIT_TERMS if split in counts}


def _describe(holdings: Holdings, licences: Sequence[Json], splits: Mapping[str, int]) -> list[str]:
    patches = holdings.patches
    sources = pc.count_distinct(patches["source_id"]).as_py()
    sizes = sorted(pc.unique(patches["patch_size"]).to_pylist())
    text = [
        f"{patches.num_rows} pairs of {' or '.join(f'{size}x{size}' for size in sizes) or 'no'} pixels, each a "
        f"scene-linear HDR patch and the photograph that a virtual camera took of it, cut from {sources} HDR sources.",
        holdings.pixels,
    ]
    if splits:
        text.append(f"By side of the data split: {_list(splits)}.")
    counts: dict[str, int] = {}
    for entry in licences:
        counts[entry["licence"]] = counts.get(entry["licence"], 0) + entry["patches"]
    text.append(f"By licence of the source: {_list(counts)}." if counts else "")
    return text


def _list(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count} patches" for name, count in counts.items())


def _file_object(file: StoredFile) -> Json:
    return {
        "@type": "cr:FileObject",
        "@id": file.path,
        "name": file.path,
        "contentUrl": file.path,
        "contentSize": f"{file.bytes} B",
        "encodingFormat": file.media_type,
        "sha256": file.sha256,
    }


def _file_set(files: StoredFiles) -> Json:
    return {
        "@type": "cr:FileSet",
        "@id": files.name,
        "name": files.name,
        "encodingFormat": files.media_type,
        "includes": list(files.includes),
    }


def _patch_records(holdings: Holdings, split: bool) -> Json:
    fields = []
    for column in holdings.patches.schema:
        field = _field("patches", column.name, _data_type(column.type))
        field["source"] = {"fileObject": {"@id": holdings.table.path}, "extract": {"column": column.name}}
        if split and column.name == "split":
            field["references"] = {"field": {"@id": "splits/name"}}
        fields.append(field)
    return {
        "@type": "cr:RecordSet",
        "@id": "patches",
        "name": "patches",
        "description": "One record a patch: the recipe of its pixels, and what was measured on them.",
        "key": {"@id": "patches/patch_id"},
        "field": fields,
    }


def _licence_records(licences: Sequence[Json]) -> Json:
    types = {"licence": "sc:Text", "attribution": "sc:Text", "sources": "sc:Integer", "patches": "sc:Integer"}
    return {
        "@type": "cr:RecordSet",
        "@id": "licences",
        "name": "licences",
        "description": "Licence and attribution of the sources, with the number of sources and patches under them.",
        "field": [_field("licences", name, data_type) for name, data_type in types.items()],
        "data": [{f"licences/{name}": entry[name] for name in types} for entry in licences],
    }


def _split_records(splits: Mapping[str, int]) -> list[Json]:
    if not splits:
        return []
    types = {"name": "sc:Text", "url": "sc:URL", "patches": "sc:Integer"}
    records = [
        {"splits/name": name, "splits/url": _SPLIT_TERMS[name], "splits/patches": count}
        for name, count in splits.items()
    ]
    fields = [_field("splits", name, data_type) for name, data_type in types.items()]
    return [
        {
            "@type": "cr:RecordSet",
            "@id": "splits",
            "name": "splits",
            "dataType": "cr:Split",
            "key": {"@id": "splits/name"},
            "field": fields,
            "data": records,
        }
    ]


def _field(records: str, name: str, data_type: str) -> Json:
    return {"@type": "cr:Field", "@id": f"{records}/{name}", "name": name, "dataType": data_type}


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"


_CROISSANT_IRI = "http://mlcommons.org/croissant/"
_SPLIT_TERMS = {
    "train": f"{_CROISSANT_IRI}TrainingSplit",
    "validation": f"{_CROISSANT_IRI}ValidationSplit",
    "test": f"{_CROISSANT_IRI}TestSplit",
}
_CROISSANT = (
    *("citeAs", "column", "extract", "field", "fileProperty", "fileObject", "fileSet", "format", "includes"),
    *("isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated"),
    *("replace", "samplingRate", "separator", "source", "subField", "transform", "equivalentProperty"),
)
# What the terms above stand for (Croissant 1.0, appendix 1).
_CONTEXT: Json = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": _CROISSANT_IRI,
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _CROISSANT},
}
