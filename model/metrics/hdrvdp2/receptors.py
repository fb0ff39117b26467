"""From the light on the retina to the achromatic response of the receptors (Mantiuk et al. 2011, Section 4.2).

Legend: H, W height and width in pixels, C channels; L luminance in cd/m2. S cones do not enter the quality.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from torch import Tensor

from model.metrics.hdrvdp2.interpolation import Nodes, Table, equally_spaced
from model.metrics.pair import mix

# Rows: L cones, M cones, rods. Columns: the channels of a display with CCFL-LCD primaries, or luminance of D65 shape.
RGB_WEIGHTS = (
    (0.19899612033792871, 0.40476260703812544, 0.054390619255321161),
    (0.041005860407588933, 0.25492330644134564, 0.050012248959300676),
    (0.014377368621119191, 0.48092084108413191, 0.45427589566935994),
)
LUMINANCE_WEIGHTS = ((0.60184715224469898,), (0.31670829557916946,), (0.90467065459950324,))

LOG_RANGE = (-5.0, 5.0)  # of log10 L in the tables
NODES = 2048
PEAK_SENSITIVITY = 0.006894596 * 10**2.4
SMALLEST_CONE_SENSITIVITY = 1e-3


def receptor_input(light: Tensor) -> Tensor:
    """Return what L cones, M cones and rods receive, (3, H, W), of planes (C, H, W) on the retina."""
    weights = RGB_WEIGHTS if light.shape[0] == 3 else LUMINANCE_WEIGHTS
    return mix(weights, light)


def adapting_luminance(received: Tensor) -> Tensor:
    """Return L_a (H, W) of what the receptors receive."""
    return received[0] + received[1]


def achromatic_response(received: Tensor) -> Tensor:
    """Return P (H, W), whose mean is 0, of what the receptors receive."""
    cones, rods = response_tables()
    level = received.log10()  # a table holds its ends beyond them
    response = cones(level[0]) + cones(level[1]) + rods(level[2])
    return response - response.mean()


@lru_cache(maxsize=1)
def response_tables() -> tuple[Table, Table]:
    """Return the responses of a cone and of the rods over log10 L: the integral of sensitivity / L from 10^-5 on."""
    x = equally_spaced(*LOG_RANGE, NODES)
    L = 10.0**x
    cones, rods = (
        Table(*LOG_RANGE, _integral(x, sensitivity(L))) for sensitivity in (cone_sensitivity, rod_sensitivity)
    )
    return cones, rods


def _integral(x: Nodes, sensitivity: Nodes) -> Nodes:
    """Return the cumulative trapezoids over x, from 0, in units of the peak sensitivity."""
    steps = np.diff(x) * (sensitivity[1:] + sensitivity[:-1]) / 2
    integral: Nodes = PEAK_SENSITIVITY * np.log(10.0) * np.concatenate([[0.0], np.cumsum(steps)])
    return integral


def cone_sensitivity(L: Nodes) -> Nodes:
    """Return s_C of one cone type at rising luminances L, which reach from 10^-5 to 10^5 cd/m2.

    Both types together have what the rods leave of the sensitivity to light; each receives half of it.
    """
    both = np.maximum(total_sensitivity(L) - rod_sensitivity(L), SMALLEST_CONE_SENSITIVITY)
    return 0.5 * np.interp(np.minimum(2 * L, 1e5), L, both)


def total_sensitivity(L: Nodes) -> Nodes:
    """Return s_A, the sensitivity to light of all receptors."""
    return 30.162 * (1 + (4.0627 / L) ** 1.6596) ** -0.2712


def rod_sensitivity(L: Nodes) -> Nodes:
    """Return s_R, the sensitivity to light of the rods."""
    distance = np.log10(L / 1.1732)
    power, width = np.where(distance <= 0, 1.2167, 2.9899), np.where(distance <= 0, 1.1478, 0.5547)
    return 10**1.1414 * np.exp(-(np.abs(distance) ** power) / width)
