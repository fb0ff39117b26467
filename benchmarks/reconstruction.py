"""Time and peak memory of `python -m model.reconstruct`, whole and in tiles, beside the plain form of the network.

    python benchmarks/reconstruction.py --out benchmarks/results/reconstruction.json

Each row is a process of its own, from the JPEG to the EXR, at the paper's width with random weights: CPU seconds (user
and system, all threads), and the peak of its resident memory. `--rows` takes a part of them. The plain form
(`tests/model/literal.py`) runs the forward pass alone, at 6.4 megapixels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # run as a script, it sees the packages beside it

from benchmarks.conditions import conditions  # noqa: E402

ROWS: dict[str, tuple[int, int, str]] = {  # height, width, --tile
    "6.4 MP, whole": (2176, 2944, "none"),
    "12 MP, whole": (3000, 4000, "none"),
    "12 MP, tiles of 1024": (3000, 4000, "1024"),
    "50 MP, tiles of 2048": (6144, 8192, "2048"),
}
LITERAL = "6.4 MP, plain form, forward pass alone"

PREPARE = """
import sys, cv2, numpy as np
from pathlib import Path
from model.card import Card
from model.unet import Architecture, MaskedUNet
from model.weights import write_weights
network = MaskedUNet(Architecture())
network.initialise(0)
write_weights(Path(sys.argv[1]), network, Card(architecture=network.architecture.model_dump(), stage="hdr"))
for file, height, width in zip(sys.argv[2::3], map(int, sys.argv[3::3]), map(int, sys.argv[4::3])):
    coarse = np.random.default_rng(0).integers(0, 330, (height // 64, width // 64, 3)).clip(0, 255).astype(np.uint8)
    cv2.imwrite(file, cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))
"""
PLAIN = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from model.color import well_exposed_mask
from model.unet import Architecture, MaskedUNet
from tests.model.literal import paper_forward
network = MaskedUNet(Architecture())
network.initialise(0)
T = torch.rand(1, 3, int(sys.argv[2]), int(sys.argv[3]))
with torch.inference_mode():
    paper_forward(network.state_dict(), T, well_exposed_mask(T))
"""


def main() -> None:
    """Measure and print the rows, as JSON."""
    options, known = parse(), conditions("torch")
    names = options.rows or [*ROWS, LITERAL]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sizes = {ROWS[name][:2] for name in names if name in ROWS}
        photos = [word for size in sorted(sizes) for word in (_photo(place, size), *map(str, size))]
        subprocess.run([sys.executable, "-c", PREPARE, str(place / "weights"), *photos], check=True, cwd=ROOT)
        figures: dict[str, Any] = {name: measure(command(name, place)) for name in names}
    figures |= known
    text = json.dumps(figures, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=(*ROWS, LITERAL), help="default: all")
    parser.add_argument("--out", type=Path, help="where the figures go as JSON")
    return parser.parse_args()


def _photo(folder: Path, size: tuple[int, int]) -> str:
    return str(folder / f"{size[1]}x{size[0]}.jpg")


def command(name: str, place: Path) -> list[str]:
    """Return the command of a row."""
    if name == LITERAL:
        return [sys.executable, "-c", PLAIN, str(ROOT), *map(str, ROWS["6.4 MP, whole"][:2])]
    height, width, tile = ROWS[name]
    told = ["--weights", str(place / "weights"), "--out", str(place), "--tile", tile, "--device", "cpu"]
    return [sys.executable, "-m", "model.reconstruct", _photo(place, (height, width)), *told]


def measure(words: Sequence[str]) -> dict[str, float]:
    """Run a command; return CPU seconds, elapsed seconds and peak memory in GB."""
    start = time.perf_counter()
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words} ended with status {process.returncode}")
    scale = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB here
    return {
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "elapsed_s": round(time.perf_counter() - start, 1),
        "peak_gb": round(used.ru_maxrss * scale / 1e9, 2),
    }


if __name__ == "__main__":
    main()
