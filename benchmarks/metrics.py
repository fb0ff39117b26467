"""What the metrics cost: seconds and peak memory of one pair of pictures, each metric and all together.

    python benchmarks/metrics.py [--device cuda] [--threads 2] [--rounds 5] [--out benchmarks/results/metrics.json]

Pairs of 512x512 and of 1920x1080 pixels (2.07 megapixels), in float64. Seconds are the median over the rounds, after
one to warm up: on a CPU those of the process (`time.process_time`, all threads together) and of the clock, on a GPU
those of the clock between two synchronisations. Peak memory on a CPU is that of a fresh process for each metric, less
what it held before; on a GPU what torch allocated. `compare` is every metric twice, without and with the correction of
the camera response, and the correction itself.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, it sees the packages beside it

from benchmarks.conditions import conditions  # noqa: E402
from model.metrics import compare  # noqa: E402
from model.metrics.crf import crf_correct  # noqa: E402
from model.metrics.hdrvdp2 import hdr_vdp_2  # noqa: E402
from model.metrics.mse import mse_gamma  # noqa: E402
from model.metrics.pu21_psnr import pu21_psnr  # noqa: E402
from model.metrics.pu21_ssim import pu21_ssim  # noqa: E402

SIZES = {"512x512": (512, 512), "1920x1080": (1080, 1920)}  # height and width
METRICS: dict[str, Callable[[Tensor, Tensor], object]] = {
    "mse_gamma": mse_gamma,
    "pu21_psnr": pu21_psnr,
    "pu21_ssim": pu21_ssim,
    "crf_correct": crf_correct,
    "hdr_vdp_2": hdr_vdp_2,
    "compare": compare,
}


def main() -> None:
    """Measure, print and write the figures."""
    options = parse()
    torch.set_num_threads(options.threads)
    if options.one is not None:
        print(json.dumps(peak_alone(*options.one)))
        return
    gpu = {"gpu": torch.cuda.get_device_name()} if options.device == "cuda" else {}
    known = conditions("torch", threads=options.threads, **gpu)
    figures: dict[str, Any] = {size: {name: measure(name, size, options) for name in METRICS} for size in SIZES}
    figures |= known
    print(json.dumps(figures, indent=2))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(figures, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="of torch on the CPU")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each")
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    parser.add_argument("--one", nargs=2, metavar=("METRIC", "SIZE"), help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(name: str, size: str, options: argparse.Namespace) -> dict[str, float]:
    """Return seconds and peak memory of a metric."""
    test, reference = pair(*SIZES[size], options.device)
    if options.device == "cuda":
        return measure_on_gpu(METRICS[name], test, reference, options.rounds)
    clock, process = [], []
    for _ in range(options.rounds + 1):
        begin, spent = time.perf_counter(), time.process_time()
        METRICS[name](test, reference)
        clock.append(time.perf_counter() - begin)
        process.append(time.process_time() - spent)
    command = [sys.executable, __file__, "--one", name, size, "--threads", str(options.threads)]
    peak = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    seconds = {"s": clock, "cpu_s": process}
    return {kind: round(statistics.median(values[1:]), 3) for kind, values in seconds.items()} | {"peak_mb": peak}


def measure_on_gpu(metric: Callable[[Tensor, Tensor], object], T: Tensor, R: Tensor, rounds: int) -> dict[str, float]:
    """Return seconds and peak memory of a metric on a GPU."""
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        metric(T, R)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return {"s": round(statistics.median(seconds[1:]), 4), "peak_mb": round(torch.cuda.max_memory_allocated() / 1e6)}


def peak_alone(name: str, size: str) -> int:
    """Return how far a metric raises the memory of this process, in MB."""
    test, reference = pair(*SIZES[size], "cpu")
    before = memory("VmRSS")
    METRICS[name](test, reference)
    return round(memory("VmHWM") - before)


def pair(height: int, width: int, device: str) -> tuple[Tensor, Tensor]:
    """Return a test picture and its reference (H, W, 3) in cd/m2: noise, clipped in the test picture."""
    generator = torch.Generator().manual_seed(0)
    reference = 100 * torch.exp(torch.randn(height, width, 3, dtype=torch.float64, generator=generator))
    return reference.clamp(max=300.0).to(device), reference.to(device)


def memory(kind: str) -> float:
    """Return a figure of this process in MB. Not getrusage: its peak is inherited from the parent process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
