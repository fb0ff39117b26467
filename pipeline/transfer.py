"""From code values to light: the transfer functions of HDR video and of still pictures.

Each takes code values in [0, 1], any shape, and returns float64 light of the unit that its name of scale says.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.records import Transfer

Values = npt.NDArray[np.floating]

# SMPTE ST 2084:2014, Eq. 4.1 to 4.6
PQ_M1, PQ_M2 = 2610 / 16384, 2523 / 4096 * 128
PQ_C1, PQ_C2, PQ_C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
PQ_PEAK = 10000.0  # cd/m2
# ARIB STD-B67:2015; ITU-R BT.2100-2, Table 5
HLG_A, HLG_B, HLG_C = 0.17883277, 0.28466892, 0.55991073


def pq_to_luminance(code: Values) -> npt.NDArray[np.float64]:
    """Return the light of PQ code values in cd/m2, 0 to 10000 (SMPTE ST 2084, Eq. 4.1)."""
    root = np.power(np.clip(np.asarray(code, np.float64), 0.0, 1.0), 1 / PQ_M2)
    return np.asarray(PQ_PEAK * np.power(np.maximum(root - PQ_C1, 0.0) / (PQ_C2 - PQ_C3 * root), 1 / PQ_M1))


def hlg_to_scene(code: Values) -> npt.NDArray[np.float64]:
    """Return the scene light of HLG code values, 0 to 1 (inverse OETF, ARIB STD-B67)."""
    values = np.clip(np.asarray(code, np.float64), 0.0, 1.0)
    return np.where(values <= 0.5, values**2 / 3, (np.exp((values - HLG_C) / HLG_A) + HLG_B) / 12)


def srgb_to_linear(code: Values) -> npt.NDArray[np.float64]:
    """Return the linear light of sRGB code values, 0 to 1 (IEC 61966-2-1)."""
    values = np.clip(np.asarray(code, np.float64), 0.0, 1.0)
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def to_light(code: Values, transfer: Transfer) -> npt.NDArray[np.float64]:
    """Return the light of code values by the name of their transfer function."""
    if transfer == "pq":
        return pq_to_luminance(code)
    if transfer == "hlg":
        return hlg_to_scene(code)
    return srgb_to_linear(code) if transfer == "srgb" else np.asarray(code, np.float64)


def scale_of(transfer: Transfer) -> str:
    """Return what 1.0 means in light of this transfer function: `cd/m2`, `HLG scene` or `relative`."""
    return {"pq": "cd/m2", "hlg": "HLG scene"}.get(transfer, "relative")
