"""How much memory the network takes for a picture, and how much there is: what `--tile auto` decides by."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from model.unet import Architecture

# Bytes of one pass in float32, above the weights: FIXED times the width squared, and for each pixel PER_WIDTH times the
# width, and PLAIN. An upper bound of what `benchmarks/reconstruction.py` measured (docs/reconstruction.md).
FIXED, PER_WIDTH, PLAIN = 90_000, 3.0, 290.0
SHARE = 0.8  # of what is free that a pass may take
CGROUP = Path("/sys/fs/cgroup")


def needed(architecture: Architecture, pixels: int) -> int:
    """Return the bytes of one pass over so many pixels, their sides multiples of 128."""
    return int(FIXED * architecture.width**2 + pixels * (PLAIN + PER_WIDTH * architecture.width))


def available(device: torch.device) -> int:
    """Return the bytes that may be taken on a device: free memory, or what a container's limit leaves of it."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch keeps it for itself
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    return min(_free(), _left_by_container())


def _free() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):  # another kernel than Linux: half of what is built in
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def _left_by_container(folder: Path = CGROUP) -> int:
    """Return what the limit of the control group (version 2) leaves, caches not counted; no limit is a large one."""
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        cached = sum(int(line.split()[1]) for line in lines if line.split()[0] in {"inactive_file", "active_file"})
        return max(int(limit) - used + cached, 0)
    except (OSError, ValueError, IndexError):  # `max`, or no such group
        return 2**63
