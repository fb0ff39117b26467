"""What is needed and what is there, and that the first is no less than what a pass takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.memory import _left_by_container, available, needed
from model.unet import Architecture

ONE_RUN = """
import sys, torch
from pathlib import Path
from model.inference import reconstruct
from model.unet import Architecture, MaskedUNet
import numpy as np
def memory(kind):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))
torch.set_num_threads(1)
network = MaskedUNet(Architecture(width=int(sys.argv[1])))
network.initialise(0)
T = np.random.default_rng(0).random((1024, 1024, 3), dtype=np.float32)
before = memory("VmRSS")
reconstruct(T, network, torch.device("cpu"), "none")
print(memory("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_the_estimate_is_an_upper_bound_and_no_wild_one() -> None:
    command = [sys.executable, "-c", ONE_RUN, "16"]
    taken = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    estimate = needed(Architecture(width=16), 1024 * 1024)
    assert estimate / 2 < taken < 1.1 * estimate


def test_more_width_and_more_pixels_need_more() -> None:
    small, wide = Architecture(width=8), Architecture(width=64)
    assert needed(small, 10**6) < needed(small, 10**7) < needed(wide, 10**7)


def test_some_memory_is_available() -> None:
    assert 10**7 < available(torch.device("cpu")) < 2**50


def test_what_torch_keeps_on_a_gpu_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"mem_get_info": (1000, 5000), "memory_reserved": 700, "memory_allocated": 300}.items():
        monkeypatch.setattr(f"torch.cuda.{name}", lambda _, value=value: value)
    assert available(torch.device("cuda")) == 1000 + 700 - 300


def test_the_limit_of_a_container_counts_without_its_caches(tmp_path: Path) -> None:
    assert _left_by_container(tmp_path) > 2**50
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 250\nactive_file 50\n")
    assert _left_by_container(tmp_path) > 2**50
    (tmp_path / "memory.max").write_text("1000\n")
    assert _left_by_container(tmp_path) == 1000 - 700 + 300
    (tmp_path / "memory.current").write_text("5000\n")
    assert _left_by_container(tmp_path) == 0
