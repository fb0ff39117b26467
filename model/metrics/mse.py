"""Mean squared error of gamma-corrected pictures, as in Table 1 and 2 of Santos et al. 2020."""

from __future__ import annotations

from model.metrics.gamma import GAMMA, encoding_name, gamma_correct
from model.metrics.pair import Image, planes
from model.metrics.result import OURS, Result


def mse_gamma(test: Image, reference: Image, *, gamma: float = GAMMA) -> Result:
    """Return mean((T^(1/gamma) - R^(1/gamma))^2) over pixels and channels, of (H, W, 3) linear RGB; no unit, 0 best.

    Santos et al. 2020, Section 5.1: "MSE values on the gamma corrected images". The paper states neither gamma nor
    scale. Here gamma is that of its Eq. 1, and values are taken as given, in the paper's scale where the sensor clips
    at 1.0; what is brighter counts in full. The number is proportional to the scale to the power of 2 / gamma.
    """
    T, R = planes(test, reference)
    value = (gamma_correct(T, gamma) - gamma_correct(R, gamma)).square().mean()
    return Result("mse", float(value), OURS, encoding_name(gamma, "not clipped"))
