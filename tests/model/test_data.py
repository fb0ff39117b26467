"""Which patches, on which side, in which order; and that damage is told."""

from __future__ import annotations

import pickle
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.data import (
    BankDataset,
    Batch,
    Sides,
    collate,
    keep_freed_memory,
    make_loader,
    split_bank,
    start_reading,
    to_example,
)
from model.order import Batches, Draw, Order, one_pass
from pipeline.bank import BankReader
from pipeline.errors import BankDamaged, BankError
from tests.model.toy_bank import make_bank, picture, sources_on


def split(bank: Path, at_most: int = 99) -> Sides:
    return split_bank(BankReader(bank), at_most)


def test_no_source_is_on_both_sides(bank: Path) -> None:
    sides = split(bank)
    assert (len(sides.train), len(sides.validation)) == (12, 4)
    assert (sides.train_sources, sides.validation_sources) == (3, 1)
    assert not set(sides.train.patch_ids) & set(sides.validation.patch_ids)


def test_a_new_source_moves_no_other(tmp_path: Path) -> None:
    sources = [*sources_on("train", 5), *sources_on("validation", 2)]
    small = split(make_bank(tmp_path / "small", sources[1:6]))
    large = split(make_bank(tmp_path / "large", sources))
    assert set(small.train.patch_ids) < set(large.train.patch_ids)
    assert set(small.validation.patch_ids) < set(large.validation.patch_ids)


def test_validation_is_bounded(bank: Path) -> None:
    everything, some = split(bank).validation, split(bank, at_most=3).validation
    assert some.patch_ids.tolist() == everything.patch_ids[:3].tolist()


@pytest.mark.parametrize("side", ["train", "validation"])
def test_a_bank_with_one_side_only_is_trained_on_whole(tmp_path: Path, side: str) -> None:
    sides = split(make_bank(tmp_path / "bank", sources_on(side, 2)))
    assert (len(sides.train), len(sides.validation)) == (8, 0)


def test_the_test_side_is_never_read(tmp_path: Path) -> None:
    test, train = sources_on("test", 2, test=0.5), sources_on("train", 1, test=0.5)
    sides = split(make_bank(tmp_path / "bank", [*test, *train], test=0.5))
    assert (len(sides.train), len(sides.validation)) == (4, 0)
    with pytest.raises(BankError, match=r"all 2 sources lie on the test side: .* lower split\.test"):
        split(make_bank(tmp_path / "test", test, test=0.5))


def test_the_side_is_what_the_bank_says(tmp_path: Path) -> None:
    def swap(rows: list[dict[str, Any]]) -> None:
        for row in rows:  # as a group may have it
            row["split"] = "validation" if row["split"] == "train" else "train"

    sides = split(make_bank(tmp_path / "bank", [*sources_on("train", 3), *sources_on("validation", 1)], edit=swap))
    assert (len(sides.train), len(sides.validation)) == (4, 12)
    assert (sides.train_sources, sides.validation_sources) == (1, 3)


def test_patches_on_no_side_are_not_guessed_at(tmp_path: Path) -> None:
    def forget(rows: list[dict[str, Any]]) -> None:
        rows[1]["split"] = None

    with pytest.raises(BankError, match="on no side of the split yet; run hdrprep score"):
        split(make_bank(tmp_path / "bank", sources_on("train", 2), edit=forget))


def test_only_kept_and_exported_patches_are_trained_on(tmp_path: Path) -> None:
    def edit(rows: list[dict[str, Any]]) -> None:
        rows[0]["verdict"], rows[1]["verdict"], rows[2]["verdict"], rows[3]["row"] = "smooth", None, "unsaturated", None

    sides = split(make_bank(tmp_path / "bank", sources_on("train", 2), edit=edit))
    assert sorted(sides.train.rows) == [4, 5, 6, 7]


def test_a_bank_without_pixels_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(BankError, match="no pixels; run hdrprep export"):
        split(make_bank(tmp_path / "unexported", sources_on("train", 2), exported=False))

    def unscored(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["verdict"] = row["row"] = None

    with pytest.raises(BankError, match="no kept patches; run hdrprep score"):
        split(make_bank(tmp_path / "unscored", sources_on("train", 2), edit=unscored))


def test_the_order_of_the_bank_does_not_matter(tmp_path: Path) -> None:
    sources = sources_on("train", 3)
    one, other = (split(make_bank(tmp_path / n, s)).train for n, s in (("a", sources), ("b", sources[::-1])))
    assert one.patch_ids.tolist() == other.patch_ids.tolist()
    assert one.rows.tolist() != other.rows.tolist()
    assert one.fingerprint == other.fingerprint


@pytest.mark.parametrize("column", ["exposure", "seed", "flip", "y", "jpeg_quality"])
def test_another_recipe_is_another_fingerprint(tmp_path: Path, bank: Path, column: str) -> None:
    def edit(rows: list[dict[str, Any]]) -> None:
        rows[1][column] = not rows[1][column] if column == "flip" else rows[1][column] + 1

    sources = [*sources_on("train", 3), *sources_on("validation", 1)]
    assert split(make_bank(tmp_path / "bank", sources, edit=edit)).train.fingerprint != split(bank).train.fingerprint


def test_examples_are_what_the_bank_holds(bank: Path) -> None:
    train = split(bank).train
    batch = collate([BankDataset(str(bank), train)[Draw(i, 0)] for i in (2, 5)])
    assert isinstance(batch, Batch)
    T, H, M = to_example(batch, torch.device("cpu"), alpha=0.96)
    assert batch.patch_ids == (train.patch_ids[2], train.patch_ids[5])
    hdr, ldr = picture(int(train.patch_ids[5]) % 2**32)
    assert T.shape == H.shape == M.shape == (2, 3, 128, 128)
    assert {T.dtype, H.dtype, M.dtype} == {torch.float32}
    np.testing.assert_array_equal(T[1].permute(1, 2, 0), ldr.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(H[1].permute(1, 2, 0), hdr.astype(np.float32))
    np.testing.assert_array_equal(M[1].permute(1, 2, 0) == 0, ldr == 255)
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in (T, H, M))


def first_shard(bank: Path) -> Path:
    return min(p for p in (bank / "hdr" / "c").rglob("*") if p.is_file())


def remove_shard(bank: Path) -> None:
    first_shard(bank).unlink()


def flip_byte(bank: Path) -> None:
    content = bytearray(first_shard(bank).read_bytes())
    content[-1] ^= 0xFF  # of the checksum of the shard's index
    first_shard(bank).write_bytes(content)


@pytest.mark.parametrize(("workers", "damage"), [(0, remove_shard), (0, flip_byte), (1, flip_byte)])
def test_damage_is_told_and_names_the_patch(tmp_path: Path, damage: Callable[[Path], None], workers: int) -> None:
    bank = make_bank(tmp_path / "bank", sources_on("train", 1))
    train = split(bank).train
    damage(bank)
    (found,) = start_reading(make_loader(BankDataset(str(bank), train), one_pass(2, 2), workers, pin=False))
    assert isinstance(found, BankDamaged)
    assert str(train.patch_ids[0]) in str(found)
    assert "\n" not in str(found)


def test_a_dataset_travels_without_its_open_bank(bank: Path) -> None:
    dataset = BankDataset(str(bank), split(bank).train)
    dataset[Draw(0, 0)]
    assert pickle.loads(pickle.dumps(dataset))._reader is None  # noqa: S301


def test_processes_read_what_this_one_reads(bank: Path) -> None:
    train = split(bank).train
    batches = Batches(Order(0, train), 3, 0, 4)
    here, there = (
        list(start_reading(make_loader(BankDataset(str(bank), train), batches, n, pin=False))) for n in (0, 2)
    )
    assert [b.patch_ids for b in here] == [b.patch_ids for b in there]
    assert all(torch.equal(a.hdr, b.hdr) and torch.equal(a.ldr, b.ldr) for a, b in zip(here, there, strict=True))


FAULTS = """
import resource, sys
import numpy as np
from model.data import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    patches = [np.ones(2**21, np.uint8) for _ in range(8)]
    del patches
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.parametrize(("most", "taken"), [(2**31, [-3, -1]), (2**25, [-3, -1]), (2**19, [])])
def test_an_older_c_library_keeps_freed_memory_too(
    monkeypatch: pytest.MonkeyPatch, most: int, taken: list[int]
) -> None:
    class Library:
        """That of glibc: a mapping's size of more than so many bytes is refused by 0, as malloc.c does."""

        def __init__(self, _name: None) -> None:
            self.set: dict[int, int] = {}
            libraries.append(self)

        def mallopt(self, parameter: int, value: int) -> int:
            if parameter == -3 and value > most:
                return 0
            self.set[parameter] = value
            return 1

    libraries: list[Library] = []
    monkeypatch.setattr("model.data.ctypes.CDLL", Library)
    monkeypatch.setattr("model.data.platform.libc_ver", lambda: ("glibc", "2.31"))
    keep_freed_memory()
    assert list(libraries[0].set) == taken
    assert libraries[0].set.get(-3, most) >= min(most, 2**30)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library keeps freed memory by its own rules")
def test_memory_that_is_freed_is_used_again_without_a_page_fault() -> None:
    given, kept = (
        int(subprocess.run([sys.executable, "-c", FAULTS, word], check=True, stdout=subprocess.PIPE).stdout)
        for word in ("given", "kept")
    )
    assert kept < 2 * 8 * 2**21 / resource.getpagesize()  # those of the first round, and half as many again
    assert kept < given / 4
