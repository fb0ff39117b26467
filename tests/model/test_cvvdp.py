"""ColorVideoVDP: what is handed to its package, and one sentence where that is not to be had."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import model.metrics.cvvdp
from model.errors import MetricError
from model.metrics.cvvdp import color_video_vdp
from tests.model.reference_pictures import CROPS, EXPECTED, crop


def test_a_package_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycvvdp", None)
    with pytest.raises(MetricError, match=r"ColorVideoVDP cannot be imported \(.+\): install hdrprep\[cvvdp\]"):
        color_video_vdp(np.ones((4, 4, 3)), np.ones((4, 4, 3)))


def test_the_package_gets_cd_m2(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the package: one that notes what it is called with."""
    called: dict[str, Any] = {}

    class Metric:
        display_geometry = SimpleNamespace(get_ppd=lambda: 75.4)

        def __init__(self, **options: Any) -> None:
            called.update(options)

        def predict(self, test: Any, reference: Any, dim_order: str) -> tuple[torch.Tensor, None]:
            called.update(test=test, reference=reference, dim_order=dim_order)
            return torch.tensor(9.5), None

    package = ModuleType("pycvvdp")
    package.cvvdp = Metric  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycvvdp", package)
    monkeypatch.setattr(model.metrics.cvvdp, "version", lambda _: "0.0")
    result = color_video_vdp(np.full((4, 5, 3), 2.0), np.full((4, 5, 3), 4.0))
    assert (result.quantity, result.value, result.version, result.ppd) == ("JOD", 9.5, "cvvdp 0.0", 75.4)
    assert (result.scale, result.factor) == ("mean luminance of the reference 100 cd/m2", 25.0)
    assert called["display_name"] == "standard_hdr_linear"
    assert called["dim_order"] == "HWC"
    assert called["test"].shape == (4, 5, 3)
    torch.testing.assert_close(called["test"], torch.full((4, 5, 3), 50.0))
    torch.testing.assert_close(called["reference"], torch.full((4, 5, 3), 100.0))


def test_the_authors_crops_where_the_package_is_installed(shared_data: Path) -> None:
    pytest.importorskip("pycvvdp", reason="ColorVideoVDP is not installed")
    for name in CROPS:
        value = color_video_vdp(*crop(shared_data, name)).value
        assert value == pytest.approx(EXPECTED["hdr_vdp_2"]["colorvideovdp_0.5.7_JOD"][name], abs=2e-3)
