"""Methods: closed forms of the baselines, results of others by name, one factor of scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from model.checkpoint import save_weights
from model.config import TrainSettings
from model.errors import CheckpointError, EvaluationError
from model.evaluation.expansion import Landis, expand
from model.evaluation.methods import Method, align, built_in, parse_method, radiance_of
from model.evaluation.testset import TestSet, read_pair
from model.evaluation.variants import find_variants
from model.evaluation.writing import write_half
from model.reconstruct import load_weights, reconstruct
from model.unet import Architecture, MaskedUNet
from pipeline.errors import UsageError
from tests.model.conftest import some_state

CPU = torch.device("cpu")


def test_landis_by_hand() -> None:
    """L = 0.75 of R = 0.5: k = (0.25 / 0.5)^2 = 1/4, so 1 + 7/4 times as bright; white is 8, what is below R stays."""
    T = np.sqrt(np.array([[[0.25] * 3, [0.75] * 3, [1.0] * 3]], np.float32))
    np.testing.assert_allclose(expand(T)[0, :, 0], [0.25, 0.75 * 2.75, 8.0], rtol=1e-6)
    np.testing.assert_allclose(expand(T, Landis(threshold=0.0, exponent=1.0, peak=2.0))[0, 1], 0.75 * 1.75, rtol=1e-6)


def test_landis_keeps_hue_and_order() -> None:
    T = np.random.default_rng(0).random((40, 40, 3), np.float32)
    factor = expand(T) / T**2
    np.testing.assert_allclose(factor, factor[..., :1].repeat(3, axis=2), rtol=1e-4)
    luminance = (T**2) @ np.array([0.2126, 0.7152, 0.0722])
    expanded = expand(T) @ np.array([0.2126, 0.7152, 0.0722])
    order = np.argsort(luminance.ravel())
    assert (np.diff(expanded.ravel()[order]) >= -1e-6).all()


def test_the_input_is_what_the_network_copies(testset: Path, weights: Path) -> None:
    picture = TestSet.load(testset).pictures[0]
    T, _ = read_pair(testset, picture)
    ours = radiance_of(parse_method(f"Ours={weights}"), T, picture, CPU)
    plain = radiance_of(built_in("input"), T, picture, CPU)
    well = T < 0.96
    np.testing.assert_allclose(plain[well], ours[well], rtol=1e-5)
    np.testing.assert_allclose(ours, reconstruct(T, load_weights(weights, "cpu").network, CPU), rtol=1e-4, atol=1e-6)


def test_results_of_another_method_are_found_by_name(tmp_path: Path, testset: Path) -> None:
    first, second, *_ = TestSet.load(testset).pictures
    T, truth = read_pair(testset, first)
    write_half(tmp_path / f"{first.name}.exr", truth)
    method = parse_method(f"Theirs = much = better={tmp_path}")
    assert (method.name, method.kind) == ("Theirs = much = better", "folder")
    np.testing.assert_array_equal(radiance_of(method, T, first, CPU), truth)
    with pytest.raises(EvaluationError, match="results must bear the names"):
        radiance_of(method, T, second, CPU)
    write_half(tmp_path / f"{second.name}.exr", truth[:-1])
    with pytest.raises(EvaluationError, match="is 96x71 pixels, and the picture 96x72"):
        radiance_of(method, T, second, CPU)
    (tmp_path / f"{second.name}.exr").write_bytes(b"nothing")
    with pytest.raises(EvaluationError, match="cannot be read"):
        radiance_of(method, T, second, CPU)
    broken = truth.copy()
    broken[3, 3] = np.nan
    write_half(tmp_path / f"{second.name}.exr", broken)
    with pytest.raises(EvaluationError, match="not finite"):
        radiance_of(method, T, second, CPU)


def test_a_path_may_hold_equals_signs(tmp_path: Path, weights: Path) -> None:
    folder = tmp_path / "lr=0.1" / "seed=2"
    folder.mkdir(parents=True)
    file = folder / "best=.safetensors"
    file.write_bytes(weights.read_bytes())
    for name in ("Ours", "Ours = better"):
        method = parse_method(f"{name}={file}")
        assert (method.name, method.kind, method.place) == (name, "network", file)
    assert parse_method(f"Theirs={folder}").place == folder
    with pytest.raises(UsageError, match="there is no file or folder"):
        parse_method(f"Ours={folder}/none=")
    (folder / "sconv-hdr-2").mkdir()
    (folder / "sconv-hdr-2" / "weights.safetensors").write_bytes(weights.read_bytes())
    assert [method.name for method in find_variants(folder)] == ["SConv + HDR pre-training"]


def test_one_factor_found_where_nothing_is_saturated() -> None:
    rng = np.random.default_rng(0)
    T = rng.uniform(0.2, 0.9, (20, 20, 3)).astype(np.float32)
    truth = T**2
    T[:15], truth[:15] = 1.0, 50.0
    given = truth / np.float32(7.0)
    given[:15] = 0.3  # what is judged has no say
    aligned, factor = align(given, truth, T, "exposed")
    assert factor == pytest.approx(7.0, rel=1e-6)
    np.testing.assert_allclose(aligned[15:], truth[15:], rtol=1e-5)
    assert align(given, truth, T, "none")[0] is given
    with pytest.raises(EvaluationError, match="its scale cannot be found"):
        align(given * 0, truth, T, "exposed")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("landis", "write NAME=WEIGHTS.safetensors"),
        ("=x", "write a name"),
        ("x=", "write a name"),
        ("x=nowhere", "there is no file or folder nowhere"),
    ],
)
def test_a_method_that_cannot_be(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_method(text)


def test_names_never_share_a_file() -> None:
    slugs = {Method(name, "input").slug for name in ("a/b", "a b", "a-b", "../../x", "ä", "ö")}
    assert len(slugs) == 6
    assert all("/" not in slug and not slug.startswith(".") for slug in slugs)


def test_a_network_tells_what_it_is(weights: Path) -> None:
    facts = parse_method(f"Ours={weights}").facts
    assert (facts["width"], facts["masking"], facts["trained"]) == ("2", "feature", "7 steps of stage hdr")


def test_the_rows_of_table_2_are_found_by_their_runs(tmp_path: Path, weights: Path) -> None:
    for run, name in (("fmask-inpainting-2", "best"), ("fmask-inpainting-2", "weights"), ("sconv-hdr-2", "weights")):
        (tmp_path / run).mkdir(exist_ok=True)
        (tmp_path / run / f"{name}.safetensors").write_bytes(weights.read_bytes())
    (tmp_path / "gconv-hdr-1").mkdir()
    found = find_variants(tmp_path)
    assert [method.name for method in found] == ["SConv + HDR pre-training", "FMask + Inp. pre-training"]
    assert found[1].place == tmp_path / "fmask-inpainting-2" / "best.safetensors"
    with pytest.raises(UsageError, match="holds no run of Table 2"):
        find_variants(tmp_path / "gconv-hdr-1")


def test_a_network_that_knows_only_inpainting_is_refused(tmp_path: Path) -> None:
    network = MaskedUNet(Architecture(width=2))
    network.initialise(0)
    state = some_state()
    save_weights(tmp_path / "w", network, state.model_copy(update={"settings": TrainSettings(stage="inpainting")}))
    with pytest.raises(CheckpointError, match="inpainting alone"):
        parse_method(f"Ours={tmp_path / 'w'}")
