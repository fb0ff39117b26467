"""Reconstruct HDR pictures: `python -m model.reconstruct photo.jpg --weights runs/first/weights.safetensors --out hdr`.

Legend: H, W height and width in pixels; T (H, W, 3) float32 display-encoded RGB in [0, 1]; radiance (H, W, 3) float32
scene-linear RGB, the sensor that took the photograph clips at 1.0.

The network was trained on sRGB-like pictures with BT.709 primaries; an embedded colour profile is not applied.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from model.checkpoint import load_network
from model.color import preview, well_exposed_mask
from model.command import Parser, explain, pick_device, run_command, say
from model.errors import PictureError
from model.pictures import read_ldr, write_picture
from model.unet import HALF_MAX, MaskedUNet, compose
from pipeline.errors import HdrprepError, UsageError
from pipeline.records import FloatImage

SUFFIXES = {".jpeg", ".jpg", ".png"}  # of the pictures taken from a folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run_command(lambda: reconstruct_all(parse(arguments)))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog="python -m model.reconstruct", description="LDR in, HDR out.", allow_abbrev=False)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="8- or 16-bit PNG or JPEG, or a folder")
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE", help="written by model.train")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="takes NAME.exr of each NAME.*")
    parser.add_argument("--preview", action="store_true", help="write a tone-mapped NAME_preview.png too")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    return parser.parse_args(arguments)


def reconstruct_all(options: argparse.Namespace) -> int:
    """Reconstruct every input; one that cannot be is told and counted, and stops no other."""
    if not options.weights.exists():
        raise UsageError(f"there are no weights at {options.weights}: name a file that model.train wrote")
    pictures = list(find_pictures(options.inputs))
    device = pick_device(options.device)
    network = load_network(options.weights).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    options.out.mkdir(parents=True, exist_ok=True)
    failed, taken = 0, {file.resolve(): file for file in pictures}  # what no result may replace
    for file in tqdm(pictures, unit="picture", file=sys.stderr, disable=not sys.stderr.isatty()):
        try:
            for target in targets(file, options):
                other = taken.setdefault(target.resolve(), file)
                if other != file:
                    raise PictureError(f"{target}, its result, would replace {other} or its result: rename one of them")
            reconstruct_file(file, targets(file, options), network, device)
        except (HdrprepError, MemoryError, OSError, RuntimeError) as error:
            reason = str(error) if isinstance(error, HdrprepError) else explain(error)
            if reason is None:
                raise
            failed += 1
            say(f"Error: {file}: {reason}")
    return 1 if failed else 0


def find_pictures(inputs: Sequence[Path]) -> Iterator[Path]:
    """Yield the files that are named, and the pictures right below the folders that are named."""
    for path in inputs:
        if not path.is_dir():
            yield path
            continue
        found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        if not found:
            raise UsageError(f"the folder {path} holds no {', '.join(sorted(SUFFIXES))}")
        yield from found


def targets(file: Path, options: argparse.Namespace) -> list[Path]:
    """Return what is written for a picture: the HDR, and the preview if it is asked for."""
    names = [f"{file.stem}.exr", f"{file.stem}_preview.png"]
    return [options.out / name for name in names[: 2 if options.preview else 1]]


def reconstruct_file(file: Path, results: Sequence[Path], network: MaskedUNet, device: torch.device) -> None:
    """Read one picture, write its HDR and preview, and say where."""
    radiance = reconstruct(read_ldr(file), network, device)
    write_picture(results[0], "openexr", radiance, "half")
    for result in results[1:]:
        write_picture(result, "png", preview(radiance), "uint8")
    sys.stdout.write(f"{results[0]}\n")
    sys.stdout.flush()


def reconstruct(T: FloatImage, network: MaskedUNet, device: torch.device) -> FloatImage:
    """Return the radiance of a picture of any size, finite and in [0, 65504]."""
    with torch.inference_mode():
        T_ = torch.from_numpy(T).to(device).permute(2, 0, 1)[None]  # (1, 3, H, W), channels-last
        M = well_exposed_mask(T_, network.architecture.alpha)
        radiance = compose(T_, network(T_, M), M)[0].permute(1, 2, 0)
    result: FloatImage = radiance.cpu().numpy()
    if not np.isfinite(result).all():
        raise PictureError("the network made numbers that are not finite: use other weights")
    return result.clip(0.0, HALF_MAX)


if __name__ == "__main__":
    raise SystemExit(main())
