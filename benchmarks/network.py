"""What the network costs beside its literal twin (tests/model/literal.py): CPU time, peak memory, and GPU throughput.

    python benchmarks/network.py [--preset official] [--threads 1] [--rounds 5] [--large] [--out FILE.json]
    python benchmarks/network.py --device cuda [--batches 4 8 16 32 64] [--tflops 790] [--out FILE.json]

CPU: random weights of width 64, 512x512 pixels. A forward pass, and a training step (forward, masked l1 loss, backward;
no VGG, no optimiser) of one patch. Both networks are measured in turns in one process, in CPU seconds of that process
(`time.process_time`): the median over the rounds, after one to warm up. Peak memory is that of a fresh process for
each, less what it held before the pass. `--large` adds forward passes of 2944x2176 pixels, each in a process of its
own; the literal twin needs about 10 GB and two minutes.

GPU: patches of 512x512 pixels a second in bfloat16 autocast, at each batch size, forward and training step, beside the
floor: the arithmetic that the quick forms leave, at the given rate of the GPU (TFLOP/s in bfloat16).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for the literal twin, which lies among the tests

from benchmarks.conditions import conditions  # noqa: E402
from model.color import well_exposed_mask  # noqa: E402
from model.losses import reconstruction_loss  # noqa: E402
from model.published import source_of  # noqa: E402
from model.unet import Architecture, MaskedUNet, PresetName  # noqa: E402
from tests.model.literal import paper_forward, published_forward  # noqa: E402

SIZE = (512, 512)  # height and width of a patch
LARGE = (2176, 2944)
# GFLOP of a forward pass of a patch in the quick forms, two a multiplication; literally both are 75.8. Width 64.
FEATURES, MASKS = 55.6, {"paper": 55.6, "official": 34.4}
Forward = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Measure, print and write the figures."""
    options = parse()
    if options.one is not None:
        print(json.dumps(run_alone(options)))
        return
    torch.set_num_threads(options.threads)
    gpu = {"gpu": torch.cuda.get_device_name()} if options.device == "cuda" else {}
    known = conditions("torch", threads=options.threads, **gpu)
    figures = on_gpu(options) if options.device == "cuda" else on_cpu(options)
    figures |= {"preset": options.preset, "width": options.width, **known}
    print(json.dumps(figures, indent=2))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(figures, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=("paper", "official"), default="official")
    parser.add_argument("--width", type=int, default=64, help="channels of the first layer")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each")
    parser.add_argument("--large", action="store_true", help=f"pictures of {LARGE[1]}x{LARGE[0]} pixels too")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[4, 8, 16, 32, 64], help="patches a step on a GPU")
    parser.add_argument("--tflops", type=float, default=790.0, help="of the GPU in bfloat16; H200: about 790")
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    parser.add_argument("--one", choices=("ours", "literal", "nothing"), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, nargs=2, default=SIZE, help=argparse.SUPPRESS)
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def on_cpu(options: argparse.Namespace) -> dict[str, Any]:
    """Return CPU seconds and peak memory of both networks."""
    T, M = photograph(options.preset, *SIZE, batch=1)
    networks = {name: build(name, options) for name in ("literal", "ours")}
    forward = {name: partial(infer, network, T, M) for name, (network, _) in networks.items()}
    step = {name: partial(train, network, weights, T, M) for name, (network, weights) in networks.items()}
    with torch.inference_mode():
        expected, found = (network(T, M) for network, _ in networks.values())
    figures: dict[str, Any] = {
        "largest_difference_over_largest_output": float((found - expected).abs().max() / expected.abs().max()),
        "forward_512x512": {"cpu_s": compare(forward, options.rounds), "peak_mb": peaks(options, SIZE)},
        "training_step_512x512": {"cpu_s": compare(step, options.rounds), "peak_mb": peaks(options, SIZE, "--train")},
    }
    if options.large:
        alone = {name: measure_alone(name, options, LARGE) for name in ("literal", "ours")}
        figures[f"forward_{LARGE[1]}x{LARGE[0]}"] = {
            key: with_ratio({name: result[key] for name, result in alone.items()}) for key in ("cpu_s", "peak_mb")
        }
    return figures


def on_gpu(options: argparse.Namespace) -> dict[str, Any]:
    """Return patches a second of both networks at each batch size, and their share of the floor."""
    masks = MASKS[options.preset]
    work = {"forward": FEATURES + masks, "training_step": 3 * FEATURES + masks}  # a convolution's backward pass is two
    floors = {kind: 1000 * options.tflops / gflop for kind, gflop in work.items()}
    figures: dict[str, Any] = {"floor_patches_a_second": {k: round(floor, 1) for k, floor in floors.items()}}
    for name in ("literal", "ours"):
        network, weights = build(name, options)
        for batch in options.batches:
            T, M = photograph(options.preset, *SIZE, batch, options.device)
            works = {"forward": partial(infer, network, T, M), "training_step": partial(train, network, weights, T, M)}
            figures[f"{name}_batch_{batch}"] = {k: rate(works[k], batch, floors[k], options) for k in works}
    return figures


def rate(work: Callable[[], object], batch: int, floor: float, options: argparse.Namespace) -> dict[str, float | str]:
    """Return patches a second, their share of the floor, and the peak memory."""
    torch.cuda.reset_peak_memory_stats()
    try:
        with torch.autocast(options.device, torch.bfloat16):
            for _ in range(5):
                work()
            torch.cuda.synchronize()
            start, repeats = time.perf_counter(), 10 * options.rounds
            for _ in range(repeats):
                work()
            torch.cuda.synchronize()
    except torch.OutOfMemoryError:
        return {"error": "out of memory"}
    patches = batch * repeats / (time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated() / 1e6
    return {"patches_a_second": round(patches, 1), "share_of_floor": round(patches / floor, 3), "peak_mb": round(peak)}


def build(name: str, options: argparse.Namespace) -> tuple[Forward, list[Tensor]]:
    """Return a network of random weights, as a function of T and M, and the weights."""
    architecture = Architecture.model_validate({"preset": options.preset, "width": options.width})
    network = MaskedUNet(architecture)
    network.initialise(0)
    network.to(options.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if name == "ours":
        return network, list(network.parameters())
    weights = {
        (source_of(key) if options.preset == "official" else key): tensor.detach().contiguous().requires_grad_()
        for key, tensor in network.state_dict().items()
    }
    return literal_twin(options.preset, weights), list(weights.values())


def literal_twin(preset: PresetName, weights: Mapping[str, Tensor]) -> Forward:
    """Return the plain form of a preset with these weights."""
    forward = published_forward if preset == "official" else paper_forward
    return lambda T, M: forward(weights, T, M)


def photograph(preset: PresetName, height: int, width: int, batch: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Return random pictures T, a tenth of which is saturated, and their masks."""
    T = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0)).to(device)
    T[..., : height // 2, : width // 5] = 1.0
    return T, well_exposed_mask(T, Architecture.model_validate({"preset": preset}).alpha)


@torch.inference_mode()
def infer(network: Forward, T: Tensor, M: Tensor) -> None:
    """Do one forward pass."""
    network(T, M)


def train(network: Forward, weights: list[Tensor], T: Tensor, M: Tensor) -> None:
    """Do one training step, short of the update."""
    for weight in weights:
        weight.grad = None
    reconstruction_loss(network(T, M), T.flip(-1), M).backward()  # type: ignore[no-untyped-call]


def compare(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median CPU seconds of each, measured in turns, and how many times as fast the last is."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            start = time.process_time()
            work()
            spent[name].append(time.process_time() - start)
    return with_ratio({name: round(statistics.median(seconds[1:]), 3) for name, seconds in spent.items()})


def with_ratio(figures: dict[str, float]) -> dict[str, float]:
    """Add how many times as much the literal twin takes."""
    return figures | {"literal_over_ours": round(figures["literal"] / figures["ours"], 2)}


def peaks(options: argparse.Namespace, size: tuple[int, int], *more: str) -> dict[str, float]:
    """Return the peak memory of a pass of each in MB."""
    return with_ratio({name: measure_alone(name, options, size, *more)["peak_mb"] for name in ("literal", "ours")})


def measure_alone(name: str, options: argparse.Namespace, size: tuple[int, int], *more: str) -> dict[str, float]:
    """Do one pass in a process of its own; return its CPU seconds and peak memory."""
    command = [sys.executable, __file__, "--one", name, "--size", *map(str, size), *more]
    command += ["--preset", options.preset, "--width", str(options.width), "--threads", str(options.threads)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(result.stdout)
    return figures


def run_alone(options: argparse.Namespace) -> dict[str, float]:
    """Do one pass; return its CPU seconds, and how far it raised the memory of this process in MB."""
    torch.set_num_threads(options.threads)
    height, width = options.size
    T, M = photograph(options.preset, height, width, batch=1)
    network, weights = build(options.one, options)
    before, start = memory("VmRSS"), time.process_time()
    if options.train:
        train(network, weights, T, M)
    else:
        infer(network, T, M)
    return {"cpu_s": round(time.process_time() - start, 2), "peak_mb": round(memory("VmHWM") - before)}


def memory(kind: str) -> float:
    """Return a figure of this process in MB. Not getrusage: its peak is inherited from the parent process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
