"""Training speed: patches a second of a whole step by precision, batch size and compilation, and of reading a bank.

    python benchmarks/training.py [--device cuda] [--batches 1 4] [--size 512] [--width 64] [--compile] [--bank BANK]

A step is forward, the loss of Eq. 5 (with VGG-19 of random weights: their values do not change the time), backward and
Adam, on patches that lie on the device already. Reading is apart: batches of `--bank` to main memory, by `--workers`
processes. The share of the floor is that of the arithmetic of a step, 552 GFLOP at 512x512 and width 64, at the rate of
the GPU (`--tflops`). Each figure is measured in a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, it sees the packages beside it

from benchmarks.conditions import conditions  # noqa: E402
from model.color import well_exposed_mask  # noqa: E402
from model.data import BankDataset, make_loader, split_bank  # noqa: E402
from model.losses import HdrWeights, hdr_loss  # noqa: E402
from model.order import Batches, Order  # noqa: E402
from model.unet import Architecture, MaskedUNet  # noqa: E402
from model.vgg import Vgg  # noqa: E402
from pipeline.bank import BankReader  # noqa: E402

GFLOP = 552.0  # of a step on a patch of 512x512 pixels at width 64 with VGG-19


def main() -> None:
    """Measure, print and write the figures."""
    options = parse()
    if options.one is not None:
        print(json.dumps(step_speed(options, *options.one)))
        return
    gpu = {"gpu": torch.cuda.get_device_name()} if options.device == "cuda" else {}
    known = conditions("torch", **gpu)
    compiled = ("eager", "compiled") if options.compile else ("eager",)
    names = [(p, str(b), c) for p in ("float32", "bfloat16") for b in options.batches for c in compiled]
    figures: dict[str, Any] = {" ".join((p, "batch", b, c)): alone(p, b, c) for p, b, c in names}
    if options.bank is not None:
        figures["reading"] = reading_speed(options)
    settings = {name: getattr(options, name) for name in ("device", "size", "width", "threads", "steps", "tflops")}
    figures |= {"settings": settings, **known}
    print(json.dumps(figures, indent=2))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4], help="patches a step")
    parser.add_argument("--size", type=int, default=512, help="side of a patch in pixels")
    parser.add_argument("--width", type=int, default=64, help="channels of the first layer")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--steps", type=int, default=5, help="measured, after two to warm up")
    parser.add_argument("--compile", action="store_true", help="with torch.compile too")
    parser.add_argument("--bank", help="bank whose reading is measured")
    parser.add_argument("--workers", type=int, default=0, help="processes that read it")
    parser.add_argument("--tflops", type=float, default=790.0, help="of the GPU in bfloat16; H200: about 790")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "training.json")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    return parser.parse_args()


def alone(precision: str, batch: str, compiled: str) -> dict[str, Any]:
    """Measure one kind of step in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--one", precision, batch, compiled]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        return {"error": result.stderr.strip().rpartition("\n")[2]}  # out of memory, most often
    figures: dict[str, Any] = json.loads(result.stdout)
    return figures


def step_speed(options: argparse.Namespace, precision: str, batch: str, compiled: str) -> dict[str, float]:
    """Return patches a second, seconds of the first step, and peak memory."""
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    device = torch.device(options.device)
    network = MaskedUNet(Architecture(width=options.width))
    network.initialise(0)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    vgg = Vgg(19).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiled == "compiled":
        network.compile()
    optimizer = Adam(network.parameters(), lr=1e-6)
    H = patches(int(batch), options.size, device)
    T = H.clamp(0.0, 1.0).sqrt()
    M = well_exposed_mask(T, network.architecture.alpha)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            Y = network(T, M)
        hdr_loss(Y, H, M, HdrWeights(), vgg).total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    first = seconds(step, 1, device)
    seconds(step, 1, device)
    speed = int(batch) * options.steps / seconds(step, options.steps, device)
    figures = {"patches_a_second": round(speed, 3), "first_step_s": round(first, 2), "peak_mb": peak(device)}
    if device.type == "cuda" and (options.size, options.width) == (512, 64):
        figures["share_of_floor"] = round(speed * GFLOP / 1000.0 / options.tflops, 4)
    return figures


def patches(batch: int, size: int, device: torch.device) -> Tensor:
    """Return random radiance (B, 3, S, S), a tenth of which saturates the sensor."""
    H = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0))
    H[..., : size // 2, : size // 5] = 3.0
    return H.to(device, memory_format=torch.channels_last)


def seconds(step: Any, count: int, device: torch.device) -> float:
    """Return the time of some steps."""
    start = time.perf_counter()
    for _ in range(count):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak(device: torch.device) -> float:
    """Return the peak memory in MB: of the GPU, or of the whole process."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated() / 1e6)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


def reading_speed(options: argparse.Namespace) -> dict[str, float]:
    """Return how many patches a second come from a bank, after the first batch."""
    index = split_bank(BankReader(options.bank), 1).train
    batches = Batches(Order(0, index), 4, 0, 1 + 8 * options.steps)
    loader = iter(make_loader(BankDataset(options.bank, index), batches, options.workers, pin=False))
    next(loader)
    start = time.perf_counter()
    count = sum(len(batch.patch_ids) for batch in loader)
    return {"patches_a_second": round(count / (time.perf_counter() - start), 1), "workers": options.workers}


if __name__ == "__main__":
    main()
