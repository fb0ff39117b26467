"""The format `webdataset`: tar shards whose members are grouped by key.

A patch is three members in a row: `KEY.hdr.exr`, `KEY.json`, `KEY.ldr.png`, the key being its patch_id. The photograph
is a PNG and not the camera's JPEG: more bytes, but the same pixels by every decoder, and the same name where the camera
compresses nothing. The bytes of a shard depend on its patches alone: no time, no user.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.handover.pictures import encode_png, write_exr
from pipeline.handover.rendered import Rendered

# What KEY.json tells of a patch: whose it is, its recipe, what was measured.
DESCRIBED = (
    *("patch_id", "source_id", "frame", "k", "y", "x", "height", "width", "patch_size", "flip"),
    *("clip_fraction", "exposure", "noise_sigma", "hue_shift", "saturation_shift", "curve_n", "curve_sigma"),
    *("jpeg_quality", "seed", "saturated_fraction", "score"),
)


def write_shard(path: Path, patches: Iterable[Rendered], scratch: Path) -> None:
    """Write patches into a tar, one after the other; `scratch` is a file that may be overwritten."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for patch in patches:
            for name, content in _members(patch, scratch):
                member = tarfile.TarInfo(name)  # its time, owner and group are 0 and nameless
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _members(patch: Rendered, scratch: Path) -> Iterator[tuple[str, bytes]]:
    key = patch.row["patch_id"]
    write_exr(scratch, patch)  # OpenEXR writes to files only
    yield f"{key}.hdr.exr", scratch.read_bytes()
    yield f"{key}.json", json.dumps({name: patch.row[name] for name in DESCRIBED}).encode()
    yield f"{key}.ldr.png", encode_png(patch)
