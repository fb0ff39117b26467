"""Which channels of which part of an EXR file are its picture.

The rule, first difference first:

1. the default view (the first name of multiView; a part says its view in an attribute, a channel in its layer's name);
2. plain R, G, B; then plain Y, RY, BY; then a layer's R, G, B (`ViewLayer.Combined.R`); then plain Y, a grey picture;
   r, g, b count as R, G, B where those are missing;
3. a layer or part whose name has one of the words rgba, rgb, beauty, combined;
4. the order of the parts, then the layers' names in alphabetical order.

Deep parts and channels of whole numbers, whose scale is unknown, are never a picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import SourceError
from pipeline.frames.exr.header import Channel, Header, Part

Kind = Literal["rgb", "chroma", "layer", "grey"]

_ORDER: tuple[Kind, ...] = ("rgb", "chroma", "layer", "grey")
_BEAUTY = {"rgba", "rgb", "beauty", "combined"}
_DEEP = "it is a deep EXR, which holds samples and no picture; flatten it first"
_UINT = "its channels hold whole numbers, whose scale is unknown; convert it to half or float"
_SUBSAMPLED = "its colours are subsampled in a way that is not read; write it with a sample for every pixel"


@dataclass(frozen=True, slots=True)
class Choice:
    """A picture: `channels` are R, G, B, or Y, RY, BY for the kind `chroma`, or Y alone for `grey`."""

    part: Part
    kind: Kind
    channels: tuple[Channel, ...]
    layer: str = ""

    @property
    def subsampled(self) -> bool:
        """Whether its channels are of different sizes."""
        return any(channel.sampling != (1, 1) for channel in self.channels)


def choose(header: Header) -> Choice:
    """Return the picture of a file by the rule above; raises SourceError with the reason where there is none."""
    views = next((part.views for part in header.parts if part.views), ())
    found = [choice for part in header.parts if not part.deep for choice in _pictures(part)]
    usable = [choice for choice in found if _refusal(choice) is None]
    if usable:
        return min(usable, key=lambda choice: _rank(choice, views))
    if found:
        raise SourceError(_refusal(found[0]) or "")
    raise SourceError(_DEEP if any(part.deep for part in header.parts) else _without_picture(header))


def _pictures(part: Part) -> Iterator[Choice]:
    layers: dict[str, dict[str, Channel]] = {}
    for channel in part.channels:
        layer, _, last = channel.name.rpartition(".")
        layers.setdefault(layer, {})[last] = channel
    for layer, channels in layers.items():
        for names in (("R", "G", "B"), ("r", "g", "b")):
            if channels.keys() >= set(names):
                yield Choice(part, "layer" if layer else "rgb", tuple(channels[name] for name in names), layer)
                break
    plain = layers.get("", {})
    if plain.keys() >= {"Y", "RY", "BY"}:
        yield Choice(part, "chroma", (plain["Y"], plain["RY"], plain["BY"]))
    # Y beside X is a coordinate, and beside one colour difference the other one is missing.
    elif "Y" in plain and not plain.keys() & {"X", "RY", "BY"}:
        yield Choice(part, "grey", (plain["Y"],))


def _refusal(choice: Choice) -> str | None:
    if any(channel.uint for channel in choice.channels):
        return _UINT
    luminance, *colours = choice.channels
    same = len({channel.sampling for channel in colours}) <= 1
    if luminance.sampling != (1, 1) or not same or (choice.subsampled and choice.kind != "chroma"):
        return _SUBSAMPLED
    return None


def _rank(choice: Choice, views: tuple[str, ...]) -> tuple[bool, int, bool, int, str]:
    words = set(re.split(r"[^a-z0-9]+", (choice.layer or choice.part.name).lower()))
    said = {choice.part.view, *choice.layer.split(".")}
    other_view = bool(said & set(views[1:])) and views[0] not in said
    return other_view, _ORDER.index(choice.kind), not words & _BEAUTY, choice.part.index, choice.layer


def _without_picture(header: Header) -> str:
    names = ", ".join([channel.name for part in header.parts for channel in part.channels][:8])
    if len(header.parts) > 1:
        return f"none of its {len(header.parts)} parts has channels R, G, B or Y, only {names!a}"
    return f"it has no channels R, G, B or Y, only {names!a}"
