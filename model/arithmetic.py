"""How the numbers of a run are computed: precision, compilation, determinism. None of it changes what is computed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from model.config import TrainSettings

# cuBLAS is deterministic only with a workspace of fixed size, which it reads when CUDA starts.
_WORKSPACE = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def choose_precision(settings: TrainSettings, device: torch.device) -> torch.dtype:
    """Return the precision of the network's features; masks, losses, weights and gradients are float32 in any case.

    On a CPU bfloat16 was slower, so `auto` takes it on GPUs that have it in hardware.
    """
    if settings.precision != "auto":
        return torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if able else torch.float32


def compile_network(settings: TrainSettings, network: nn.Module) -> None:
    """Have the network compiled at its first pass, in place: its weights keep their names."""
    if settings.compile is True:
        network.compile()


@contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """Have torch take every sum in a fixed order, or refuse an operation for which it knows none.

    Without it cuDNN may choose the quickest algorithm by trying them, which is not the same one in each run.
    """
    name, value = _WORKSPACE
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark, os.environ.get(name)
    if wanted:
        os.environ.setdefault(name, value)
    torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.benchmark = not wanted
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]
        if before[2] is None:
            os.environ.pop(name, None)


def cannot_compile(error: BaseException) -> bool:
    """Say whether torch.compile failed: most often, there is no C++ compiler, or no Triton for a GPU."""
    return isinstance(error, RuntimeError) and type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
