"""Identities, seeds and splits: each a function of what it names, and of nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import FrozenInstanceError, asdict
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import BLOCK_BYTES, Camera, Recipe, Window, derive_seed, generator, patch_id, row_blocks, split_of

SOURCE = "0123456789abcdef" * 4
IDENTITIES = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(20_000)]

numbers = st.integers(0, 10**6)
identities = st.binary(min_size=32, max_size=32).map(bytes.hex)


def first_63_bits(text: str) -> int:
    """The same number another way: the digest as a string of binary digits, the first 63 of them."""
    digits = f"{int(hashlib.sha256(text.encode()).hexdigest(), 16):0256b}"
    return int(digits[:63], 2)


def test_patch_id_worked_out_by_hand() -> None:
    # printf %s $SOURCE/3/17 | sha256sum gives e20461ab2e6774a8...; 0xe20461ab2e6774a8 >> 1
    assert patch_id(SOURCE, 3, 17) == 0xE20461AB2E6774A8 // 2 == 8143124770162195028


@given(identities, numbers, numbers)
def test_patch_id_is_the_first_63_bits_of_the_digest(source: str, frame: int, k: int) -> None:
    assert patch_id(source, frame, k) == first_63_bits(f"{source}/{frame}/{k}")
    assert np.int64(patch_id(source, frame, k)) >= 0  # it fits the table's int64


def test_patch_ids_of_one_source_are_distinct() -> None:
    # (1, 11) and (11, 1) among them: the parts of a name are kept apart
    names = list(product(range(12), range(12)))
    assert len({patch_id(SOURCE, frame, k) for frame, k in names}) == len(names)


@given(st.integers(0, 2**63 - 1), identities, numbers, numbers, st.sampled_from(["window", "camera/noise"]))
def test_a_seed_depends_on_each_of_its_parts(seed: int, source: str, frame: int, k: int, purpose: str) -> None:
    others = {
        derive_seed(seed + 1, source, frame, k, purpose),
        derive_seed(seed, source[::-1] + "0", frame, k, purpose),
        derive_seed(seed, source, frame + 1, k, purpose),
        derive_seed(seed, source, frame, k + 1, purpose),
        derive_seed(seed, source, frame, k, purpose + "'"),
    }
    own = derive_seed(seed, source, frame, k, purpose)
    assert len(others | {own}) == 6
    assert own == first_63_bits(f"{seed}/{source}/{frame}/{k}/{purpose}")


def test_the_generator_is_pcg64() -> None:
    # numpy's first raw output of PCG64(42); numpy guarantees that bit generators keep their streams
    assert generator(42).bit_generator.random_raw() == 0xC621FBCD16D92688


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.1), (0.05, 0.2), (0.5, 0.0), (0.0, 0.3)])
def test_shares_of_the_split_approach_the_fractions(validation: float, test: float) -> None:
    sides = [split_of(identity, validation, test) for identity in IDENTITIES]
    tolerance = 5 * np.sqrt(0.25 / len(sides))  # five standard deviations of a share, at most
    assert sides.count("validation") / len(sides) == pytest.approx(validation, abs=tolerance)
    assert sides.count("test") / len(sides) == pytest.approx(test, abs=tolerance)
    assert sides.count("train") / len(sides) == pytest.approx(1 - validation - test, abs=tolerance)


def test_boundaries_of_the_split() -> None:
    lowest, middle, highest = "0" * 64, "8" + "0" * 63, "f" * 8 + "0" * 56
    assert split_of(lowest, 0, 0) == split_of(highest, 0, 0) == "train"
    assert split_of(lowest, 0, 1e-9) == "test"
    assert split_of(middle, 0, 0.5) == "train"  # exactly half way: the intervals are half open
    assert split_of(middle, 1e-9, 0.5) == "validation"
    assert split_of(highest, 0.5, 0.5) == "validation"


@given(identities, st.floats(0, 0.4), st.floats(0, 0.4), st.floats(0, 0.2))
def test_a_larger_share_takes_sources_in_and_lets_none_out(source: str, test: float, more: float, rest: float) -> None:
    if split_of(source, rest, test) == "test":
        assert split_of(source, rest, test + more) == "test"


windows = st.builds(
    Window,
    y=numbers, x=numbers, height=numbers, width=numbers, patch_size=st.integers(16, 8192), flip=st.booleans(),
)  # fmt: skip
finite = st.floats(allow_nan=False)
cameras = st.builds(
    Camera,
    clip_fraction=finite, exposure=finite, noise_sigma=finite, hue_shift=finite, saturation_shift=finite,
    curve_n=finite, curve_sigma=finite, jpeg_quality=st.integers(0, 100), seed=st.integers(0, 2**63 - 1),
)  # fmt: skip


@given(windows, cameras)
def test_a_recipe_comes_back_from_its_row(window: Window, camera: Camera) -> None:
    row = {**asdict(window), **asdict(camera), "score": 1.0, "verdict": "kept", "row": None}
    assert Recipe.from_row(row) == Recipe(window, camera)


def test_a_row_without_a_number_of_the_recipe_is_refused() -> None:
    with pytest.raises(KeyError, match="clip_fraction"):
        Recipe.from_row(asdict(Window(0, 0, 16, 16, 16, False)))


def test_a_recipe_cannot_be_changed() -> None:
    window = Window(0, 0, 16, 16, 16, False)
    with pytest.raises(FrozenInstanceError):
        window.y = 1  # type: ignore[misc]


@pytest.mark.parametrize("shape", [(1, 1, 3), (1000, 7, 3), (5, 400_000, 3), (3000, 1000, 3), (3001, 1000)])
def test_blocks_of_rows_are_views_of_all_rows_in_order(shape: tuple[int, ...]) -> None:
    pixels = np.zeros(shape, np.float32)
    for value, rows in enumerate(row_blocks(pixels), 1):
        assert rows.nbytes <= max(BLOCK_BYTES, pixels[:1].nbytes)
        rows += value
    first = pixels.reshape(len(pixels), -1)
    assert (first == first[:, :1]).all()
    assert set(np.diff(first[:, 0])) <= {0, 1}
    assert first[0, 0] == 1
