"""The eight rows of Table 2, found in a folder of runs by the names that configs/table2 gives their second stage."""

from __future__ import annotations

from pathlib import Path

from model.evaluation.methods import Method, method_of
from pipeline.errors import UsageError

WEIGHTS = ("best.safetensors", "weights.safetensors")  # of the lowest validation loss, else the last ones
MASKINGS = {"sconv": "SConv", "gconv": "GConv", "imask": "IMask", "fmask": "FMask"}
PRETRAININGS = {"hdr": "HDR", "inpainting": "Inp."}


def find_variants(runs: Path) -> list[Method]:
    """Return the variants whose runs are there, in the paper's order. Raises UsageError where there is none."""
    found = []
    for masking, label in MASKINGS.items():
        for pretraining, trained in PRETRAININGS.items():
            folder = runs / f"{masking}-{pretraining}-2"
            file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
            if file is not None:
                found.append(method_of(f"{label} + {trained} pre-training", file))
    if not found:
        raise UsageError(f"{runs} holds no run of Table 2, such as fmask-inpainting-2/{WEIGHTS[0]}: see configs/table2")
    return found
