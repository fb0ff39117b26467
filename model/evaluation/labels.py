"""What people call the metrics, which end is the better one, and how many decimals mean something."""

from __future__ import annotations

from model.metrics import CORRECTED

REFERENCE_LABEL = "Ground truth"  # stands beside the methods' names, so that no method may have it

LABELS = {
    "mse_gamma": "MSE",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "pu21_psnr": "PU21-PSNR",
    "pu21_psnr_y": "PU21-PSNR-Y",
    "pu21_ssim": "PU21-SSIM",
    "hdr_vdp_2": "HDR-VDP-2",
    "cvvdp": "ColorVideoVDP",
}


def lower_is_better(metric: str) -> bool:
    """Say in which direction a metric improves."""
    return metric.startswith("mse")


def label(metric: str) -> str:
    """Return what people call a metric, with an arrow to its better end."""
    plain = metric.removesuffix(CORRECTED)
    ending = ", corrected" if metric.endswith(CORRECTED) else ""
    return f"{LABELS.get(plain, plain)}{ending} {'↓' if lower_is_better(metric) else '↑'}"


def digits(metric: str) -> int:
    """Return how many decimals of a metric mean something."""
    plain = metric.removesuffix(CORRECTED)
    return 4 if plain in ("mse_gamma", "ssim", "pu21_ssim") else 2
