"""Writing a shard: its patches are encoded one by one as they come, then its three files are written, whole.

The same bytes that Zarr would write, without its event loop, and without decoding what stays: chunks that are stored
already are carried over as they are, and so is their checksum.
One task writes one whole shard, and no other task touches it: what one adds meanwhile, the other would not carry over.
Legend: R patches a shard, S patch size.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from pipeline.bank.arrays import ARRAYS, NO_PATCH, PatchArrays, shard_key
from pipeline.bank.chunks import ChunkFault, Part, join_chunks, layouts_of, split_chunks
from pipeline.bank.shards import decode_ids, encode_ids
from pipeline.bank.storage import Storage, writing
from pipeline.errors import BankDamaged, BankError

Patch = tuple[int, int, npt.NDArray[np.float16], npt.NDArray[np.uint8]]  # row, patch_id, hdr and ldr (S, S, 3)


class ShardDraft:
    """The shard that a row lies in, with what is stored in it, or `empty`; nothing is written before `write`.

    Raises BankDamaged where what is stored cannot be carried over, BankError where it cannot be read, or the arrays are
    stored in a way that this project does not write.
    """

    def __init__(self, bank: Storage, row: int, empty: bool = False) -> None:
        arrays = PatchArrays(bank)
        layouts = layouts_of(arrays.hdr, arrays.ldr, arrays.patch_id)
        if layouts is None:
            raise BankError(f"the arrays of {bank} were stored by other software; export into a new bank")
        self._bank, self._layouts, self._rows = bank, layouts, layouts[0].rows
        self._shard = row // self._rows
        self._keys = [shard_key(name, self._shard) for name in ARRAYS]
        self._chunks: list[dict[int, list[Part]]] = [{}, {}]
        self._ids = np.full(self._rows, NO_PATCH, np.int64)
        if not empty:
            self._take_over()

    def put(self, row: int, patch_id: int, hdr: npt.NDArray[np.float16], ldr: npt.NDArray[np.uint8]) -> None:
        """Put a patch, hdr (S, S, 3) and ldr (S, S, 3), into a row of this shard."""
        shard, chunk = divmod(row, self._rows)
        if shard != self._shard:
            raise ValueError(f"row {row} lies in shard {shard}, not in {self._shard}")
        self._chunks[0][chunk] = self._layouts[0].encode(hdr)
        self._chunks[1][chunk] = self._layouts[1].encode(ldr)
        self._ids[chunk] = patch_id

    def write(self) -> None:
        """Write the pixels, then the ids, so that an id stands for pixels that are there.

        Rows that change hands lose their ids before: who reads meanwhile, and looks at the patch_id after the pixels,
        never takes another patch's for his. Each file is replaced whole. Raises BankError where the bank cannot be
        written.
        """
        with writing(self._bank):
            self._clear_changing()
            for key, chunks in zip(self._keys, self._chunks, strict=False):
                self._bank.write(key, *join_chunks(chunks, self._rows))
            self._bank.write(self._keys[-1], encode_ids(self._ids))

    def _clear_changing(self) -> None:
        try:
            held = decode_ids(self._bank.read(self._keys[-1]), self._rows)
        except FileNotFoundError:
            return
        except OSError:  # it is replaced all the same
            held = None
        changing = np.ones(self._rows, bool) if held is None else (held != self._ids) & (held != NO_PATCH)
        if changing.any():
            staying = NO_PATCH if held is None else held
            self._bank.write(self._keys[-1], encode_ids(np.where(changing, NO_PATCH, staying)))

    def _take_over(self) -> None:
        for key, chunks in zip(self._keys, self._chunks, strict=False):
            stored = self._fetch(key)
            try:
                chunks |= {} if stored is None else split_chunks(stored, self._rows)
            except ChunkFault as fault:
                raise self._damaged(key, str(fault)) from fault
        stored = self._fetch(self._keys[-1])
        if stored is not None:
            held = decode_ids(stored, self._rows)
            if held is None:
                raise self._damaged(self._keys[-1], "does not match its checksum")
            self._ids[:] = held

    def _fetch(self, key: str) -> bytes | None:
        """Return what is stored, None where there is no such file."""
        try:
            return self._bank.read(key)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BankError(f"{self._bank}/{key} cannot be read ({error.strerror or error})") from error

    def _damaged(self, key: str, fault: str) -> BankDamaged:
        return BankDamaged(f"{self._bank}/{key} {fault}; run hdrprep verify --repair on that bank first")


def write_patches(bank: Storage, patches: Iterable[Patch], empty: bool = False) -> None:
    """Write patches, all of one shard, beside those that lie in it, or `empty`: in place of them.

    Raises as ShardDraft does.
    """
    draft: ShardDraft | None = None
    for row, patch_id, hdr, ldr in patches:
        draft = draft or ShardDraft(bank, row, empty)
        draft.put(row, patch_id, hdr, ldr)
    if draft is not None:
        draft.write()
