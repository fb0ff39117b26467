"""The formats that patches are handed over in, each with its files and where they lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.handover.hdrcnn import write_bin, write_jpeg
from pipeline.handover.pictures import write_exr, write_png
from pipeline.handover.rendered import Rendered
from pipeline.handover.webdataset import DESCRIBED

SPLITS = ("train", "validation", "test")
RECIPE = (
    *("source_id", "frame", "k", "y", "x", "height", "width", "patch_size", "flip", "clip_fraction", "exposure"),
    *("noise_sigma", "hue_shift", "saturation_shift", "curve_n", "curve_sigma", "jpeg_quality", "seed"),
)
SHARD = "shard"


@dataclass(frozen=True, slots=True)
class Member:
    """One of the files that a patch becomes: `folder/NAMEsuffix`; `write` fills it, None in shards of many patches."""

    folder: str
    suffix: str
    media_type: str
    write: Callable[[Path, Rendered], None] | None


@dataclass(frozen=True, slots=True)
class Format:
    """A format: its files, how pixels are stored in them, and the columns of the patches table that they depend on.

    Each side of the data split is a folder of its own. With `training_on_top` the training side lies where a reader
    that knows no split looks, and the others in their folders.
    """

    name: str
    members: Mapping[str, Member]
    told: str
    content: tuple[str, ...] = RECIPE
    half: bool = True  # whether the ground truth is stored as float16, clipped to its range
    training_on_top: bool = False

    @property
    def sharded(self) -> bool:
        """Whether a file holds many patches."""
        return SHARD in self.members

    def folder(self, split: str | None) -> str:
        """Return the folder of a side of the split, with its slash; empty where there is none."""
        return "" if split is None or (self.training_on_top and split == "train") else f"{split}/"

    def folders(self) -> tuple[str, ...]:
        """Return all folders that sides of the split can have."""
        return tuple(dict.fromkeys(self.folder(split) for split in (None, *SPLITS)))


_FILES = Format(
    "files",
    {
        "hdr": Member("", ".exr", "image/x-exr", write_exr),
        "ldr": Member("", ".png", "image/png", write_png),
    },
    "The HDR patches are OpenEXR in half float (hdr_path), the sensor clips at 1.0; the photographs are 8-bit PNG "
    "(ldr_path).",
)
_HDRCNN = Format(
    "hdrcnn",
    {
        "hdr": Member("bin/", ".bin", "application/octet-stream", write_bin),
        "ldr": Member("jpg/", ".jpg", "image/jpeg", write_jpeg),
    },
    "The HDR patches are float32 (hdr_path): height, width, channels, the camera curve's n and sigma, then the pixels, "
    "the sensor clips at 1.0; the photographs are the camera's own JPEG (ldr_path).",
    half=False,
    training_on_top=True,
)
_WEBDATASET = Format(
    "webdataset",
    {SHARD: Member("", ".tar", "application/x-tar", None)},
    "Tar shards (shard_path) hold KEY.hdr.exr (half float, the sensor clips at 1.0), KEY.json (recipe and score) and "
    "KEY.ldr.png (the photograph, 8 bits) of each patch, the key being its patch_id.",
    content=tuple(dict.fromkeys((*RECIPE, *DESCRIBED))),
)
FORMATS = {form.name: form for form in (_FILES, _HDRCNN, _WEBDATASET)}
