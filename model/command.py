"""What the commands of this package share: a user's mistake as one sentence, the exit status, the device."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

import torch
from torch.distributed import is_torchelastic_launched
from tqdm import tqdm

from pipeline.errors import HdrprepError, UsageError

INTERRUPTED = 130

# Of torch on a CPU, of the C++ library, of oneDNN, and of CUDA and its libraries.
OUT_OF_MEMORY = (
    *("DefaultCPUAllocator", "std::bad_alloc", "could not create a memory object", "could not allocate memory"),
    *("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
)


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence, like every other error."""

    def error(self, message: str) -> NoReturn:
        """Raise what `run_command` turns into status 2."""
        raise UsageError(f"{message} (see --help)")


def run_command(work: Callable[[], int]) -> int:
    """Return the exit status of a command; what a user can put right is said in one sentence on stderr."""
    try:
        return work()
    except HdrprepError as error:
        complain(f"Error: {error}")
        return error.exit_status
    except KeyboardInterrupt:
        complain("Interrupted")
        return INTERRUPTED
    except (MemoryError, OSError, RuntimeError) as error:
        sentence = explain(error)
        if sentence is None:
            raise
        complain(f"Error: {sentence}")
        return 1


def explain(error: BaseException) -> str | None:
    """Return a sentence for what the machine refused, None for what can only be a fault of this program."""
    if is_out_of_memory(error):
        return "out of memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):
        return "a process that reads patches was ended from outside, perhaps for want of memory: set train.workers=0"
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether torch or Python could not get memory: most parts of torch have no exception type of their own."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)


def say(text: str) -> None:
    """Write a line to stderr, above a progress bar where there is one; of several processes, the first one speaks."""
    if not is_torchelastic_launched() or os.environ.get("RANK", "0") == "0":
        complain(text)


def complain(text: str) -> None:
    """Write a line to stderr, whichever process this is."""
    tqdm.write(text, file=sys.stderr)


def pick_device(name: str) -> torch.device:
    """Return the device that `auto`, `cpu` or `cuda` stands for on this machine."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no GPU here; use --device cpu or a build of torch with CUDA")
    return torch.device(name)
