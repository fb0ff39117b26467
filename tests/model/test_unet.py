"""The network against its literal twins, each way of masking, and Eq. 1 in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.color import well_exposed_mask
from model.published import source_of
from model.unet import MAX_LOG_RADIANCE, Architecture, MaskedUNet, Masking, PresetName, compose
from tests.model.literal import paper_forward, published_forward, published_weights

MASKINGS: tuple[Masking, ...] = ("feature", "input", "none", "gated")


def network(width: int, seed: int = 0, *, preset: PresetName = "paper", masking: Masking = "feature") -> MaskedUNet:
    made = MaskedUNet(Architecture(preset=preset, masking=masking, width=width))
    made.initialise(seed)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):  # zero at first, which would hide a bias that is left out
            torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    return made


def published(width: int, seed: int = 0) -> tuple[MaskedUNet, dict[str, Tensor]]:
    """Random weights as the network of preset `official`, and by the authors' names."""
    tensors = published_weights(width, seed)
    made = MaskedUNet(Architecture(preset="official", width=width))
    made.load_state_dict({name: tensors[source_of(name)] for name in made.state_dict()})
    return made, tensors


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Equal to 1e-5 of the largest output."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def photograph(height: int, width: int, seed: int = 0, batch: int = 1) -> tuple[Tensor, Tensor]:
    """A random T with a saturated and a nearly saturated area, and its mask."""
    T = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))
    T[..., : height // 2, : width // 3] = 1.0
    T[:, 0, height // 4 :, width // 2 :] = 0.975
    return T, well_exposed_mask(T)


@pytest.mark.parametrize(("width", "height", "across"), [(4, 128, 384), (6, 256, 128), (64, 128, 128)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_preset_paper_equals_the_equations_written_down(
    width: int, height: int, across: int, layout: torch.memory_format
) -> None:
    made = network(width)
    T, M = photograph(height, across)
    expected = paper_forward(made.state_dict(), T, M)
    made.to(memory_format=layout)  # type: ignore[call-overload]
    with torch.no_grad():
        found = made(T.contiguous(memory_format=layout), M.contiguous(memory_format=layout))
    assert_close(found, expected)


@pytest.mark.parametrize(("width", "height", "across"), [(8, 512, 512), (4, 128, 384), (64, 128, 128)])
def test_preset_official_equals_the_published_forward_pass(width: int, height: int, across: int) -> None:
    made, tensors = published(width)
    T, M = photograph(height, across)
    with torch.no_grad():
        assert_close(made(T, M), published_forward(tensors, T, M))


@settings(max_examples=12, deadline=None)
@given(
    batch=st.integers(1, 3),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    seed=st.integers(0, 99),
    kind=st.sampled_from(["random", "ones", "zeros", "holes"]),
    preset=st.sampled_from(["paper", "official"]),
)
def test_every_mask_and_size_gives_the_literal_twins_numbers(
    batch: int, rows: int, columns: int, seed: int, kind: str, preset: PresetName
) -> None:
    T, M = photograph(128 * rows, 128 * columns, seed, batch)
    M = {"random": torch.rand_like(T), "ones": torch.ones_like(T), "zeros": torch.zeros_like(T), "holes": M.round()}[
        kind
    ]
    made, tensors = published(2, seed) if preset == "official" else (network(2, seed), {})
    with torch.no_grad():
        found = made(T, M)
        expected = published_forward(tensors, T, M) if tensors else paper_forward(made.state_dict(), T, M)
    assert_close(found, expected)


@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 300), across=st.integers(1, 300), preset=st.sampled_from(["paper", "official"]))
@example(height=1, across=1, preset="official")
@example(height=129, across=127, preset="official")
def test_any_size_is_the_literal_twins_on_the_reflected_picture(height: int, across: int, preset: PresetName) -> None:
    T, M = photograph(height, across)
    whole_T, whole_M = (reflected(x, -height % 128, -across % 128) for x in (T, M))
    made, tensors = published(2) if preset == "official" else (network(2), {})
    with torch.no_grad():
        found = made(T, M)
        literal = published_forward(tensors, whole_T, whole_M) if tensors else None
        whole = paper_forward(made.state_dict(), whole_T, whole_M) if literal is None else literal
    assert found.shape == T.shape
    assert (found - whole[..., :height, :across]).abs().max() <= 1e-5 * whole.abs().max()


def reflected(x: Tensor, below: int, beside: int) -> Tensor:
    return torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (0, below), (0, beside)), mode="symmetric"))


@pytest.mark.parametrize("preset", ["paper", "official"])
def test_gradients_equal_those_of_the_literal_twin(preset: PresetName) -> None:
    made, tensors = published(3) if preset == "official" else (network(3), {})
    T, M = photograph(256, 128)
    made(T, M).square().mean().backward()
    names = {name: source_of(name) if tensors else name for name, _ in made.named_parameters()}
    weights = {theirs: made.get_parameter(ours).detach().clone().requires_grad_() for ours, theirs in names.items()}
    expected_Y = published_forward(weights, T, M) if tensors else paper_forward(weights, T, M)
    expected_Y.square().mean().backward()  # type: ignore[no-untyped-call]
    for ours, theirs in names.items():
        found, expected = made.get_parameter(ours).grad, weights[theirs].grad
        assert found is not None
        assert expected is not None
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max(), ours


@pytest.mark.parametrize("preset", ["paper", "official"])
@pytest.mark.parametrize("masking", MASKINGS)
def test_each_masking_trains(masking: Masking, preset: PresetName) -> None:
    made = network(4, preset=preset, masking=masking)
    T, M = photograph(128, 128)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.003)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = ((1 - M) * (made(T, M) - 2.0 * T.flip(-1))).abs().mean()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_masks_of_ones_give_what_no_masks_give_where_the_border_is_out_of_reach() -> None:
    T, _ = photograph(1024, 1024)
    masks, none = network(1), network(1, masking="none")
    none.load_state_dict(masks.state_dict())
    with torch.no_grad():
        with_masks, without = masks(T, torch.ones_like(T)), none(T, torch.zeros_like(T))
    inside = (..., slice(384, 768), slice(384, 768))  # a pixel hears 384 pixels above and left, 255 below and right
    assert_close(with_masks[inside], without[inside])
    assert (with_masks - without).abs().max() > 1e-3  # beyond the border everything is invalid, to FMask alone


def test_masking_the_input_is_no_masking_of_a_masked_picture() -> None:
    T, M = photograph(128, 128)
    masked, none = network(2, masking="input"), network(2, masking="none")
    none.load_state_dict(masked.state_dict())
    with torch.no_grad():
        assert torch.equal(masked(T, M), none(T * M, torch.rand_like(M)))


def test_the_official_input_is_masked_after_its_normalisation() -> None:
    T, M = photograph(128, 128)
    made = network(2, preset="official", masking="input")
    bare = MaskedUNet(Architecture(preset="official", masking="none", width=2))
    bare.load_state_dict(made.state_dict())
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        torch.testing.assert_close(made(T, M), bare((T - mean) / deviation * M * deviation + mean, M))


@pytest.mark.parametrize("masking", ["none", "gated"])
def test_what_follows_no_mask_does_not_hear_it(masking: Masking) -> None:
    T, M = photograph(128, 128)
    made = network(2, masking=masking)
    with torch.no_grad():
        assert torch.equal(made(T, M), made(T, torch.zeros_like(M)))


def test_half_precision_keeps_masks_in_single_precision() -> None:
    made, (T, M) = network(4), photograph(128, 256)
    seen: list[torch.dtype] = []
    for layer in (*made.encoder, *made.decoder):
        layer.register_forward_hook(lambda _m, _i, result: seen.extend(x.dtype for x in result))
    with torch.autocast("cpu", torch.bfloat16):
        Y = made(T, M)
        Y.float().abs().mean().backward()
    assert seen == [torch.bfloat16, torch.float32] * 13
    with torch.no_grad():
        expected = made(T, M)
    assert (Y - expected).abs().max() < 0.05 * expected.abs().max()


@pytest.mark.parametrize("masking", MASKINGS)
def test_parameters_of_the_presets(masking: Masking) -> None:
    for preset, biased in (("paper", True), ("official", False)):
        made = network(1, preset=preset, masking=masking)  # type: ignore[arg-type]
        names = [name for name in made.state_dict() if name.endswith("bias")]
        assert (len(names) > 1) == biased
        assert "head.bias" in names
        assert ("encoder.0.gate.weight" in made.state_dict()) == (masking == "gated")


def test_alpha_is_the_presets_unless_it_is_given() -> None:
    assert Architecture().alpha == 0.96
    assert Architecture(preset="official").alpha == 0.95
    assert Architecture(preset="official", alpha=0.5).alpha == 0.5


def test_weights_of_before_the_maskings_are_of_the_paper() -> None:
    stored = '{"preset":"paper","width":2,"alpha":0.9,"epsilon":1e-06}'
    assert Architecture.model_validate_json(stored) == Architecture(width=2, alpha=0.9)


def test_number_of_parameters_at_the_papers_width() -> None:
    with torch.device("meta"):
        made = MaskedUNet(Architecture())
    assert sum(p.numel() for p in made.parameters() if p.ndim > 1) + 3 == 25_770_964  # the authors', biased at last
    assert sum(p.numel() for p in made.parameters() if p.ndim == 1) == 4_480 + 3


def test_kernels_and_channels_are_those_of_the_authors() -> None:
    with torch.device("meta"):
        shapes = {n: tuple(p.shape) for n, p in MaskedUNet(Architecture()).named_parameters() if p.ndim > 1}
    expected = [(64, 3, 7, 7), (128, 64, 5, 5), (256, 128, 5, 5), (512, 256, 3, 3), *[(512, 512, 3, 3)] * 3]
    expected += [*[(512, 1024, 3, 3)] * 3, (256, 768, 3, 3), (128, 384, 3, 3), (64, 192, 3, 3), (3, 67, 3, 3)]
    assert list(shapes.values()) == expected


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="256x0 pixels has nothing to reconstruct"):
        network(1)(torch.zeros(1, 3, 0, 256), torch.zeros(1, 3, 0, 256))
    with pytest.raises(ValueError, match="must be of one size"):
        network(1)(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 4))


def test_what_is_saturated_does_not_reach_the_output() -> None:
    made = network(4)
    T, _ = photograph(128, 128)
    M = torch.ones_like(T)
    M[..., 32:64, 32:64] = 0.0
    other = T.clone()
    other[..., 32:64, 32:64] = 0.3
    with torch.no_grad():
        assert torch.equal(made(T, M), made(other, M))


def test_a_wholly_saturated_picture_gives_numbers() -> None:
    T = torch.ones(1, 3, 128, 128)
    assert network(2)(T, torch.zeros_like(T)).isfinite().all()


def test_initial_weights_are_xavier_with_gain_sqrt_2_and_a_function_of_the_seed() -> None:
    made = MaskedUNet(Architecture(width=32))
    made.initialise(5)
    W = made.encoder[4].conv.weight  # type: ignore[union-attr]
    assert isinstance(W, Tensor)
    assert W.std().item() == pytest.approx(math.sqrt(2) * math.sqrt(2 / ((256 + 256) * 9)), rel=0.01)
    assert all(not p.any() for name, p in made.named_parameters() if name.endswith("bias"))
    again = MaskedUNet(Architecture(width=32))
    again.initialise(5)
    other = MaskedUNet(Architecture(width=32))
    other.initialise(6)
    assert torch.equal(made.head.weight, again.head.weight)
    assert not torch.equal(made.head.weight, other.head.weight)


def test_eq_1_by_hand() -> None:
    T, Y, M = torch.tensor(0.5), torch.tensor(math.log(4.0)), torch.tensor(0.25)
    assert compose(T, Y, M).item() == pytest.approx(0.25 * 0.25 + 0.75 * 3.0)
    assert compose(T, Y, M, gamma=1.0).item() == pytest.approx(0.25 * 0.5 + 0.75 * 3.0)


@given(T=st.floats(0, 1, width=32), Y=st.floats(allow_nan=False, width=32), M=st.floats(0, 1, width=32))
def test_radiance_is_never_negative_and_never_beyond_half_floats(T: float, Y: float, M: float) -> None:
    H = compose(torch.tensor(T), torch.tensor(Y), torch.tensor(M)).item()
    assert 0.0 <= H < 65_520.0  # what rounds to 65504 as a half float


def test_a_well_exposed_pixel_does_not_hear_the_network() -> None:
    assert compose(torch.tensor(0.5), torch.tensor(math.inf), torch.tensor(1.0)).item() == 0.25


def test_the_bound_is_what_a_half_float_holds() -> None:
    assert math.expm1(MAX_LOG_RADIANCE) == pytest.approx(65_504)
