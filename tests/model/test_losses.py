"""Eq. 5 to 12 and the inpainting loss in closed form, and where their gradients go."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from model.losses import (
    LEAST_PEAK,
    MU,
    HdrWeights,
    InpaintingWeights,
    Loss,
    composed_prediction,
    compress,
    filled,
    gram,
    hdr_loss,
    hole_loss,
    inpainting_loss,
    peak_radiance,
    reconstruction_loss,
    style_loss,
    total_variation_loss,
    valid_loss,
    vgg_loss,
)
from model.vgg import Features, Vgg

SIDE = 16  # pixels, of which VGG leaves 2 after pool3
HALF_MAX = 65504.0


def full(value: float, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.full((2, 3, 4, 4), value, dtype=dtype)


def random_features(seed: int) -> Features:
    generator = torch.Generator().manual_seed(seed)
    return Features(*(torch.rand(2, c, s, s, generator=generator) for c, s in ((64, 8), (128, 4), (256, 2))))


def example(seed: int = 0, batch: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Y, H, M of random patches, saturated (M = 0) in one quarter and half so in another."""
    generator = torch.Generator().manual_seed(seed)
    Y = 0.2 + torch.rand(batch, 3, SIDE, SIDE, generator=generator)
    H = 3.0 * torch.rand(batch, 3, SIDE, SIDE, generator=generator)
    M = torch.ones(batch, 3, SIDE, SIDE)
    M[..., 4:12, 4:8] = 0.0
    M[..., 4:12, 8:12] = 0.5
    return Y, H, M


@pytest.fixture(scope="module")
def vgg() -> Vgg:
    """VGG-19 of random weights; what is tested is where numbers go, not what VGG has learned."""
    torch.manual_seed(0)
    network = Vgg(19)
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
    return network


def gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Return the gradient of a loss with respect to its argument."""
    x = at.clone().requires_grad_()
    loss(x).backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    return x.grad


# Eq. 6


def test_reconstruction_is_a_mean_of_weighted_log_differences() -> None:
    loss = reconstruction_loss(full(1.5), full(math.e - 1), full(0.25))
    assert loss.item() == pytest.approx(0.75 * 0.5, rel=1e-6)


def test_reconstruction_counts_all_pixels_not_the_saturated_ones_alone() -> None:
    M = torch.ones(1, 3, 2, 2)
    M[..., 0, 0] = 0.0
    assert reconstruction_loss(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2), M).item() == pytest.approx(0.25)


def test_reconstruction_of_one_saturated_value_moves_that_value() -> None:
    M = torch.ones(1, 3, 2, 2)
    M[0, 1, 1, 1] = 0.0
    moved = gradient(lambda Y: reconstruction_loss(Y, torch.ones(1, 3, 2, 2), M), torch.zeros(1, 3, 2, 2))
    assert moved[0, 1, 1, 1].item() == pytest.approx(-1 / 12)
    assert moved.count_nonzero() == 1


def test_reconstruction_is_taken_in_float32() -> None:
    H = full(60_000.0, torch.float16)
    loss = reconstruction_loss(full(0.0, torch.float16), H, full(0.0, torch.float16))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log1p(60_000.0), rel=1e-6)  # 11.002; in half floats 11.0


# Eq. 9


def test_composition_blends_linear_radiance() -> None:
    # 1/4 of 2, and 3/4 of exp(log 5) - 1 = 4
    torch.testing.assert_close(composed_prediction(full(math.log(5.0)), full(2.0), full(0.25)), full(0.5 + 3.0))


def test_composition_is_the_truth_where_the_picture_is_well_exposed() -> None:
    assert torch.equal(composed_prediction(full(100.0), full(0.3), full(1.0)), full(0.3))


def test_composition_is_never_negative_nor_infinite() -> None:
    assert torch.equal(composed_prediction(full(-3.0), full(2.0), full(0.0)), full(0.0))
    torch.testing.assert_close(composed_prediction(full(1e4), full(2.0), full(0.0)), full(HALF_MAX), rtol=1e-5, atol=0)


# Eq. 10


def test_compression_in_closed_form() -> None:
    peak = torch.full((2, 1, 1, 1), 4.0)
    assert compress(full(0.0), peak).abs().max() == 0.0
    torch.testing.assert_close(compress(full(4.0), peak), full(1.0))
    half = math.log(1 + 500 * 0.5) / math.log(501)  # 0.8889
    torch.testing.assert_close(compress(full(2.0), peak), full(half))
    brighter = math.log(1 + 500 * 2) / math.log(501)  # 1.1113
    torch.testing.assert_close(compress(full(8.0), peak), full(brighter))
    assert MU == 500.0


def test_each_patch_has_its_own_peak() -> None:
    H = torch.zeros(4, 3, 2, 2)
    H[1, 2, 0, 1], H[2], H[3, 0, 0, 0] = 0.5, 7.0, HALF_MAX
    assert peak_radiance(H).flatten().tolist() == pytest.approx([LEAST_PEAK, 0.5, 7.0, 50.0])
    assert compress(H, peak_radiance(H)).amax(dim=(1, 2, 3)).tolist() == pytest.approx([0.0, 1.0, 1.0, 1.0])


# Eq. 8, 11, 12


def test_gram_in_closed_form() -> None:
    phi = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # C = 2, one row of two pixels; K = 2 * 1 * 2
    torch.testing.assert_close(gram(phi), torch.tensor([[[5.0, 11.0], [11.0, 25.0]]]) / 4.0)


def test_gram_forgets_where_features_are() -> None:
    phi = random_features(0).pool1
    torch.testing.assert_close(gram(phi.flip(-1)), gram(phi))


def constant_features(*values: float) -> Features:
    return Features(*(torch.full((2, 4, 2, 2), value) for value in values))


def test_vgg_loss_adds_the_means_of_the_layers() -> None:
    found, true = constant_features(1.0, 2.0, 3.0), constant_features(1.5, 2.0, 1.0)
    assert vgg_loss(found, true).item() == pytest.approx(0.5 + 0.0 + 2.0)


def test_style_loss_adds_the_means_of_the_layers() -> None:
    # Constant features of v have G = v^2 * 4 pixels / (4 channels * 4 pixels) = v^2 / 4 everywhere.
    found, true = constant_features(1.0, 2.0, 3.0), constant_features(2.0, 2.0, 1.0)
    assert style_loss(found, true).item() == pytest.approx((4 - 1) / 4 + 0.0 + (9 - 1) / 4)


def test_style_loss_against_its_sums_written_out() -> None:
    found, true = random_features(0), random_features(1)
    expected = 0.0
    for a, b in zip(found, true, strict=True):
        batch, channels, side, _ = a.shape
        for n in range(batch):
            x, y = (t[n].reshape(channels, side * side).double() for t in (a, b))
            difference = (x @ x.T - y @ y.T) / (channels * side * side)
            expected += float(difference.abs().sum()) / channels**2 / batch
    assert style_loss(found, true).item() == pytest.approx(expected, rel=1e-5)


# Eq. 5 and 7


def test_hdr_loss_weighs_its_terms(vgg: Vgg) -> None:
    Y, H, M = example()
    total, terms = hdr_loss(Y, H, M, HdrWeights(), vgg)
    assert list(terms) == ["reconstruction", "vgg", "style"]
    assert min(terms.values()) > 0.0
    expected = 6.0 * terms["reconstruction"] + 1.0 * (1.0 * terms["vgg"] + 120.0 * terms["style"])
    torch.testing.assert_close(total, expected)
    other = hdr_loss(Y, H, M, HdrWeights(reconstruction=2.0, perceptual=0.5, vgg=3.0, style=5.0), vgg).total
    torch.testing.assert_close(other, 2.0 * terms["reconstruction"] + 0.5 * (3.0 * terms["vgg"] + 5.0 * terms["style"]))


def test_hdr_terms_are_those_of_the_compressed_pictures(vgg: Vgg) -> None:
    Y, H, M = example()
    terms = hdr_loss(Y, H, M, HdrWeights(), vgg).terms
    blended = M * H + (1 - M) * (Y.exp() - 1)
    found, true = (vgg(torch.log(1 + 500 * X / H.max()) / math.log(501)) for X in (blended, H))
    torch.testing.assert_close(terms["reconstruction"], ((1 - M) * (Y - (H + 1).log())).abs().mean())
    torch.testing.assert_close(terms["vgg"], vgg_loss(found, true), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(terms["style"], style_loss(found, true), rtol=1e-4, atol=1e-6)


def test_hdr_loss_without_vgg_is_the_reconstruction_alone() -> None:
    Y, H, M = example()
    total, terms = hdr_loss(Y, H, M, HdrWeights(), None)
    assert list(terms) == ["reconstruction"]
    torch.testing.assert_close(total, 6.0 * reconstruction_loss(Y, H, M))


def test_a_perfect_prediction_costs_nothing(vgg: Vgg) -> None:
    _, H, M = example()
    total = hdr_loss(torch.log1p(H), H, M, HdrWeights(), vgg).total
    assert total.item() < 1e-4


# Gradients


@pytest.mark.parametrize("name", ["reconstruction", "vgg", "style"])
def test_gradient_of_each_hdr_term_reaches_the_saturated_area_and_no_more(vgg: Vgg, name: str) -> None:
    Y, H, M = example()
    moved = gradient(lambda Y: hdr_loss(Y, H, M, HdrWeights(), vgg).terms[name], Y)
    assert bool(moved.isfinite().all())
    assert bool((moved[M == 1.0] == 0.0).all())
    assert (moved[M < 1.0] != 0.0).float().mean() > 0.9


@pytest.mark.parametrize("name", ["valid", "hole", "total_variation", "vgg", "style"])
def test_gradient_of_each_inpainting_term_reaches_what_it_is_for(vgg: Vgg, name: str) -> None:
    P, truth, _ = example()
    truth = truth / 3.0
    M = torch.ones_like(P)
    M[..., 4:12, 4:12] = 0.0
    moved = gradient(lambda P: inpainting_loss(P, truth, M, InpaintingWeights(), vgg).terms[name], P)
    assert bool(moved.isfinite().all())
    in_hole, outside = (moved[M == 0.0] != 0.0).float().mean(), (moved[M == 1.0] != 0.0).float().mean()
    if name in ("vgg", "style"):  # of the prediction as it is, and of the filled photograph
        assert min(in_hole, outside) > 0.9
    elif name == "valid":
        assert in_hole == 0.0
        assert outside == 1.0
    else:
        assert in_hole > 0.6  # a pixel brighter than one neighbour and darker than the other has none
        assert outside == 0.0


def test_vgg_itself_is_not_trained(vgg: Vgg) -> None:
    Y, H, M = example()
    gradient(lambda Y: hdr_loss(Y, H, M, HdrWeights(), vgg).total, Y)
    assert all(not p.requires_grad and p.grad is None for p in vgg.parameters())


# Numbers


def hdr_of(vgg: Vgg, Y: Tensor, H: Tensor, M: Tensor) -> Loss:
    return hdr_loss(Y, H, M, HdrWeights(), vgg)


def inpainting_of(vgg: Vgg, Y: Tensor, H: Tensor, M: Tensor) -> Loss:
    return inpainting_loss(Y, H.clamp(0.0, 1.0), M, InpaintingWeights(), vgg)


@pytest.mark.parametrize(
    ("radiance", "mask", "output"),
    list(itertools.product((0.0, 1e-8, 1.0, HALF_MAX), (0.0, 0.5, 1.0), (-20.0, 0.0, 0.7, 200.0))),
)
def test_extremes_give_numbers(vgg: Vgg, radiance: float, mask: float, output: float) -> None:
    H, M, Y = (torch.full((1, 3, SIDE, SIDE), value) for value in (radiance, mask, output))
    for loss in (hdr_of, inpainting_of):
        moved = gradient(lambda Y: loss(vgg, Y, H, M).total, Y)  # noqa: B023 - called at once
        assert bool(moved.isfinite().all())
        assert math.isfinite(float(loss(vgg, Y, H, M).total))
        if mask == 1.0 and loss is hdr_of:
            assert float(hdr_of(vgg, Y, H, M).total) == 0.0
            assert moved.count_nonzero() == 0


@pytest.mark.parametrize("loss", [hdr_of, inpainting_of])
def test_losses_of_a_batch_are_the_means_of_its_patches(vgg: Vgg, loss: Callable[..., Loss]) -> None:
    Y, H, M = (torch.cat(parts) for parts in zip(*(example(seed) for seed in range(3)), strict=True))
    H[1] *= 9.0  # patches of different peaks
    M = M.round()
    stacked = loss(vgg, Y, H, M)
    single = [loss(vgg, Y[n : n + 1], H[n : n + 1], M[n : n + 1]) for n in range(3)]
    for name, term in stacked.terms.items():
        torch.testing.assert_close(term, torch.stack([s.terms[name] for s in single]).mean(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(stacked.total, torch.stack([s.total for s in single]).mean(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loss", [hdr_of, inpainting_of])
def test_autocast_changes_nothing(vgg: Vgg, loss: Callable[..., Loss]) -> None:
    Y, H, M = example()
    plain = loss(vgg, Y, H, M)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = loss(vgg, Y, H, M)
    assert {term.dtype for term in (cast.total, *cast.terms.values())} == {torch.float32}
    assert torch.equal(cast.total, plain.total)


# Liu et al. 2018


def test_valid_and_hole_losses_share_the_picture() -> None:
    M = torch.ones(1, 3, 2, 2)
    M[..., 0, 0] = 0.0
    P, truth = torch.full((1, 3, 2, 2), 0.7), torch.full((1, 3, 2, 2), 0.3)
    assert valid_loss(P, truth, M).item() == pytest.approx(0.75 * 0.4)
    assert hole_loss(P, truth, M).item() == pytest.approx(0.25 * 0.4)
    assert filled(P, truth, M)[0, 0].tolist() == [[pytest.approx(0.7), pytest.approx(0.3)], [pytest.approx(0.3)] * 2]


def test_total_variation_counts_pairs_in_the_grown_hole() -> None:
    # One hole in the middle of 5x5: the grown hole is 3x3, with six pairs across and six down.
    M = torch.ones(1, 1, 5, 5)
    M[..., 2, 2] = 0.0
    slope = torch.arange(5.0).view(1, 1, 1, 5).expand(1, 1, 5, 5)
    assert total_variation_loss(slope, M).item() == pytest.approx(6 * 1.0 / 25)
    assert total_variation_loss(slope.transpose(2, 3), M).item() == pytest.approx(6 * 1.0 / 25)
    step = (torch.arange(5.0) >= 4).float().view(1, 1, 1, 5).expand(1, 1, 5, 5)  # between the rim and what lies beyond
    assert total_variation_loss(step, M).item() == 0.0
    assert total_variation_loss(slope, torch.ones_like(M)).item() == 0.0


def test_inpainting_loss_weighs_its_terms(vgg: Vgg) -> None:
    P, truth, M = example()
    truth, M = truth / 3.0, M.round()
    total, terms = inpainting_loss(P, truth, M, InpaintingWeights(), vgg)
    assert list(terms) == ["valid", "hole", "total_variation", "vgg", "style"]
    weights = {"valid": 1.0, "hole": 6.0, "vgg": 0.05, "style": 120.0, "total_variation": 0.1}
    torch.testing.assert_close(total, torch.stack([weights[name] * term for name, term in terms.items()]).sum())
    true, raw, composed = vgg(truth), vgg(P), vgg(M * truth + (1 - M) * P)
    torch.testing.assert_close(terms["vgg"], vgg_loss(raw, true) + vgg_loss(composed, true))
    torch.testing.assert_close(terms["style"], style_loss(raw, true) + style_loss(composed, true))
    without = inpainting_loss(P, truth, M, InpaintingWeights(), None)
    assert list(without.terms) == ["valid", "hole", "total_variation"]
    torch.testing.assert_close(without.total, terms["valid"] + 6 * terms["hole"] + 0.1 * terms["total_variation"])
