"""The transfer functions against the numbers of their standards."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.transfer import hlg_to_scene, pq_to_luminance, scale_of, srgb_to_linear, to_light


def test_pq_against_published_values() -> None:
    # Full-range 10-bit codes of BT.2408-7, Table 1, and the ends: 100, 203 and 1000 cd/m2.
    np.testing.assert_allclose(pq_to_luminance(np.array([0.0, 1.0])), [0.0, 10000.0])
    np.testing.assert_allclose(pq_to_luminance(np.array([0.508078, 0.580689, 0.751827])), [100, 203, 1000], rtol=1e-4)


def test_pq_is_the_inverse_of_the_standards_other_direction() -> None:
    light = np.geomspace(1e-3, 1e4, 50)
    power = (light / 1e4) ** 0.1593017578125
    code = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    np.testing.assert_allclose(pq_to_luminance(code), light, rtol=1e-9)


def test_hlg_against_closed_forms() -> None:
    # The two branches meet at a code of one half, which is a twelfth of the light; BT.2100, Table 5.
    np.testing.assert_allclose(hlg_to_scene(np.array([0.0, 0.5, 1.0])), [0.0, 1 / 12, 1.0], atol=1e-7)
    np.testing.assert_allclose(hlg_to_scene(np.array([0.25])), [0.25**2 / 3])
    just_above = hlg_to_scene(np.array([0.5 + 1e-9]))
    np.testing.assert_allclose(just_above, 1 / 12, rtol=1e-6)


def test_srgb_against_closed_forms() -> None:
    np.testing.assert_allclose(srgb_to_linear(np.array([0.0, 0.04045, 1.0])), [0.0, 0.04045 / 12.92, 1.0])
    np.testing.assert_allclose(srgb_to_linear(np.array([188 / 255])), [0.5029], atol=1e-4)


def test_all_rise_and_bound_what_is_out_of_range() -> None:
    code = np.linspace(-0.1, 1.1, 200)
    for function in (pq_to_luminance, hlg_to_scene, srgb_to_linear):
        light = function(code)
        assert (np.diff(light) >= 0).all()
        assert light[0] == 0.0
        assert np.isfinite(light).all()


@pytest.mark.parametrize(
    ("transfer", "scale", "light"),
    [("pq", "cd/m2", 1e4), ("hlg", "HLG scene", 1), ("srgb", "relative", 1), ("linear", "relative", 1)],
)
def test_names(transfer: str, scale: str, light: float) -> None:
    assert scale_of(transfer) == scale  # type: ignore[arg-type]
    np.testing.assert_allclose(to_light(np.array([1.0]), transfer), light, rtol=1e-6)  # type: ignore[arg-type]
