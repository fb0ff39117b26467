"""What a video says of its colours (the numbers of ITU-T H.273), and what is taken where it says nothing.

A stated transfer function is never overruled, a missing one never guessed. Missing primaries and matrix of PQ and HLG
are those that ITU-R BT.2100 gives them, BT.2020's.
"""

from __future__ import annotations

from dataclasses import dataclass

import av

from pipeline.color import BT709, BT2020, P3_D65, XYZ, Chromaticities
from pipeline.errors import SourceError
from pipeline.frames.planes import Coding, Matrix, layout_of
from pipeline.records import Transfer

_UNSAID = {0, 2, 3}  # reserved, unspecified, reserved
_TRANSFERS: dict[int, Transfer] = {8: "linear", 16: "pq", 18: "hlg"}
_MATRICES: dict[int, Matrix] = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
_DCI_P3: Chromaticities = (*P3_D65[:6], 0.314, 0.351)  # SMPTE RP 431-2
_PRIMARIES: dict[int, Chromaticities] = {1: BT709, 9: BT2020, 10: XYZ, 11: _DCI_P3, 12: P3_D65}
_FULL_RANGE, _LIMITED_RANGE = 2, 1


@dataclass(frozen=True, slots=True)
class Tags:
    """H.273 numbers: transfer characteristics, colour primaries, matrix coefficients; FFmpeg's number of the range."""

    transfer: int
    primaries: int
    matrix: int
    color_range: int


def read_tags(carrier: av.VideoFrame | av.VideoCodecContext) -> Tags:
    """Return the tags of a decoded frame, or of a container's track before anything is decoded."""
    transfer, primaries, matrix = carrier.color_trc, carrier.color_primaries, carrier.colorspace
    return Tags(int(transfer or 0), int(primaries or 0), int(matrix or 0), int(carrier.color_range or 0))


def merge_tags(bitstream: Tags, container: Tags) -> Tags:
    """Return what the bitstream says, and what the container says where the bitstream is silent."""

    def said(ours: int, theirs: int) -> int:
        return theirs if ours in _UNSAID else ours

    return Tags(
        said(bitstream.transfer, container.transfer),
        said(bitstream.primaries, container.primaries),
        said(bitstream.matrix, container.matrix),
        bitstream.color_range or container.color_range,
    )


def coding_of(tags: Tags, pixel_format: str, bits: int, given: Transfer | None) -> Coding:
    """Return how sample values stand for light; raises SourceError for what is not HDR or not stated.

    `given` is the user's word for a video without a stated transfer function.
    """
    if bits <= 8:
        raise SourceError("it is 8-bit SDR, not HDR")
    transfer = _transfer(tags.transfer, given)
    layout = layout_of(pixel_format)
    full_range = tags.color_range == _FULL_RANGE or (layout.rgb and tags.color_range != _LIMITED_RANGE)
    return Coding("identity" if layout.rgb else _matrix(tags, transfer), full_range, transfer)


def _transfer(number: int, given: Transfer | None) -> Transfer:
    if number in _TRANSFERS:
        return _TRANSFERS[number]
    if number not in _UNSAID:
        raise SourceError(f"its transfer function (number {number} of H.273) is that of SDR video, not HDR")
    if given is None:
        raise SourceError("it does not state its transfer function; say which with --transfer pq|hlg|linear")
    return given


def _matrix(tags: Tags, transfer: Transfer) -> Matrix:
    if tags.matrix in _MATRICES:
        return _MATRICES[tags.matrix]
    if tags.matrix not in _UNSAID or tags.matrix == 0:
        raise SourceError(f"its matrix (number {tags.matrix} of H.273) is not read; convert it to BT.2020 NCL")
    return "bt709" if tags.primaries == 1 or (transfer not in {"pq", "hlg"} and tags.primaries != 9) else "bt2020"


def chromaticities_of(tags: Tags, transfer: Transfer) -> Chromaticities | None:
    """Return the primaries; where they are not stated those of the matrix, then BT.2020 for PQ and HLG, then None."""
    if tags.primaries in _PRIMARIES:
        return _PRIMARIES[tags.primaries]
    if tags.primaries not in _UNSAID:
        raise SourceError(f"its primaries (number {tags.primaries} of H.273) are not read; convert it to BT.2020")
    by_matrix = {9: BT2020, 1: BT709}.get(tags.matrix)
    return by_matrix or (BT2020 if transfer in {"pq", "hlg"} else None)
