"""The bank as training examples: which patches, on which side of the split.

Legend: B batch, S patch size in pixels, N patches of one side of the split. As stored: ldr (S, S, 3) uint8, hdr
(S, S, 3) float16. As trained on: T (B, 3, S, S) float32 display-encoded in [0, 1]; H (B, 3, S, S) float32 scene-linear,
the sensor clips at 1.0; M (B, 3, S, S) float32 mask, 1 = well exposed.
"""

from __future__ import annotations

import ctypes
import hashlib
import platform
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model.color import well_exposed_mask
from model.order import Draw
from pipeline.bank import BankReader
from pipeline.errors import BankError, HdrprepError
from pipeline.interrupts import holding
from pipeline.records import Camera, Window

# A patch is its recipe: the numbers of these columns determine its pixels.
RECIPE = tuple(f.name for part in (Window, Camera) for f in fields(part) if f.name != "patch_size")

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

# mallopt(3) of glibc, malloc.h: how much may lie free before it goes back, and from what size on an array is a mapping.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 2**30
_LARGEST_MAPPINGS = (_KEPT_BYTES, 2**25)  # older versions refuse more than 32 MiB


@dataclass(frozen=True, slots=True, eq=False)
class PatchIndex:
    """The patches of one side of the split, by rising `patch_ids` (N,) int64, whatever order the bank was filled in.

    `rows` (N,) int64 is where each lies in the bank's arrays. `fingerprint` (hex) changes if any patch is added, taken
    away or replaced by another one, and not if patches only lie elsewhere. `sources` (N,) int64 numbers the source of
    each from 0 on.
    """

    patch_ids: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    fingerprint: str
    sources: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Sides:
    """The split of a bank; `validation` is empty where the bank has too few sources for one."""

    train: PatchIndex
    validation: PatchIndex
    train_sources: int
    validation_sources: int


def split_bank(reader: BankReader, validation_patches: int) -> Sides:
    """Take every kept and exported patch on the side that the bank put it on; the test side is left alone.

    Training needs a side: where every source fell on the side of validation, it takes them, and validation is empty.
    """
    table = kept_patches(reader)
    sides = table.column("split")
    if sides.null_count:
        raise BankError("the bank holds patches that are on no side of the split yet; run hdrprep score")
    train, validation = (table.filter(pc.equal(sides, side)) for side in ("train", "validation"))
    if train.num_rows == 0:
        train, validation = validation, train
    if train.num_rows == 0:
        raise BankError(
            f"all {_count_sources(table)} sources lie on the test side: run hdrprep score with a lower split.test"
        )
    return Sides(
        train=_index(train),
        # The ids are hashes: the lowest ones are a fair sample of all sources, and the same one at each validation.
        validation=_index(validation.slice(0, validation_patches)),
        train_sources=_count_sources(train),
        validation_sources=_count_sources(validation),
    )


def kept_patches(reader: BankReader) -> pa.Table:
    """Return the rows of the patches table that can be trained on, by rising patch_id."""
    table = reader.patches(["patch_id", "source_id", "verdict", "row", "split", *RECIPE])
    kept = table.filter(pc.equal(table.column("verdict"), "kept"))
    exported = kept.filter(pc.is_valid(kept.column("row")))
    if exported.num_rows == 0:
        missing = "no kept patches; run hdrprep score" if kept.num_rows == 0 else "no pixels; run hdrprep export"
        raise BankError(f"there is nothing to train on, the bank holds {missing}")
    return exported.sort_by("patch_id")


def _index(part: pa.Table) -> PatchIndex:
    digest = hashlib.sha256()
    for name in ("patch_id", *RECIPE):
        digest.update(name.encode())
        digest.update(_numbers(part, name).tobytes())
    sources = np.unique(np.asarray(part.column("source_id").to_numpy(zero_copy_only=False), str), return_inverse=True)[
        1
    ]
    return PatchIndex(_numbers(part, "patch_id"), _numbers(part, "row"), digest.hexdigest(), sources.astype(np.int64))


def _count_sources(part: pa.Table) -> int:
    return int(pc.count_distinct(part.column("source_id")).as_py())


def _numbers(table: pa.Table, name: str) -> npt.NDArray[Any]:
    return np.asarray(table.column(name).to_numpy())


class Pair(NamedTuple):
    """One patch as the bank stores it."""

    patch_id: int
    hdr: npt.NDArray[np.float16]
    ldr: npt.NDArray[np.uint8]


class Batch(NamedTuple):
    """Patches as the bank stores them: hdr (B, S, S, 3) float16, ldr (B, S, S, 3) uint8. A quarter of the bytes."""

    patch_ids: tuple[int, ...]
    hdr: Tensor
    ldr: Tensor


class Example(NamedTuple):
    """What a training step works on, on its device. H is the truth; in stage inpainting, the photograph, not HDR."""

    T: Tensor
    H: Tensor
    M: Tensor


class BankDataset(Dataset[Pair | HdrprepError]):
    """Reads one patch of an index at a time.

    A patch that cannot be read comes back as the error it is: raised in a worker process, it would arrive wrapped in
    that process's traceback.
    """

    def __init__(self, bank: str, index: PatchIndex) -> None:
        self.bank = bank
        self.index = index
        self._reader: BankReader | None = None

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, draw: Draw) -> Pair | HdrprepError:
        try:
            if self._reader is None:  # each process opens the bank for itself
                self._reader = BankReader(self.bank)
            place = draw.place
            hdr, ldr = self._reader.pair(int(self.index.rows[place]), int(self.index.patch_ids[place]))
        except HdrprepError as error:
            return error
        return Pair(int(self.index.patch_ids[draw.place]), hdr, ldr)

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_reader": None}


def collate(pairs: list[Pair | HdrprepError]) -> Batch | HdrprepError:
    """Stack patches to a batch, or hand on the first error."""
    read = [pair for pair in pairs if isinstance(pair, Pair)]
    for pair in pairs:
        if isinstance(pair, HdrprepError):
            return pair
    hdr, ldr = (torch.from_numpy(np.stack(arrays)) for arrays in ([p.hdr for p in read], [p.ldr for p in read]))
    return Batch(tuple(pair.patch_id for pair in read), hdr, ldr)


def to_example(batch: Batch, device: torch.device, alpha: float) -> Example:
    """Bring a batch to the device, then to float: so four times fewer bytes travel.

    The permuted view of (B, S, S, 3) is what torch calls channels-last, the layout in which convolutions are fastest.
    """
    T = batch.ldr.to(device, non_blocking=True).permute(0, 3, 1, 2).float().div_(255.0)
    H = batch.hdr.to(device, non_blocking=True).permute(0, 3, 1, 2).float()
    return Example(T, H, well_exposed_mask(T, alpha))


def make_loader(
    dataset: Dataset[Any],
    batches: Iterable[list[Draw]],
    workers: int,
    pin: bool,
    collate_fn: Callable[[list[Any]], Any] = collate,
) -> DataLoader[Any]:
    """Return what yields `Batch | HdrprepError` in the order of `batches`, read by that many processes or by this one.

    Processes are spawned: forking a process that has threads of Zarr, Arrow and torch may deadlock the child.
    """
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=collate_fn,
        pin_memory=pin,
        multiprocessing_context="spawn" if workers else None,
        worker_init_fn=_prepare_worker,
        persistent_workers=workers > 0,
    )


def start_reading(loader: DataLoader[Any]) -> Iterator[Any]:
    """Begin a pass of a loader, its processes deaf to Ctrl-C and SIGTERM, which a terminal sends to all of them."""
    if not loader.num_workers:
        return iter(loader)
    with holding(*_STOP_SIGNALS):
        return iter(loader)


def keep_freed_memory() -> None:
    """Let glibc keep what this process frees: it gives each patch's pages back, and fetches them anew for the next.

    Zeroing pages costs more than reading a pair from the page cache. Another C library does as it sees fit.
    """
    if platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        # Where neither is taken, the other is left alone as well: it alone would fix the size of mappings at 128 KiB.
        if any(library.mallopt(_M_MMAP_THRESHOLD, size) for size in _LARGEST_MAPPINGS):
            library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def _prepare_worker(_worker: int) -> None:
    keep_freed_memory()
    for number in _STOP_SIGNALS:  # once more: torch's start of a worker installs its own handler
        signal.signal(number, signal.SIG_IGN)
