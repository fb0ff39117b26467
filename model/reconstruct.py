"""Reconstruct HDR pictures: `python -m model.reconstruct photo.jpg --weights runs/first/weights.safetensors --out hdr`.

Legend: H, W height and width in pixels; radiance (H, W, 3) float32 scene-linear RGB of BT.709, the sensor that took the
photograph clips at 1.0.

From Python, `load_weights` and `reconstruct_picture` do it; docs/reconstruction.md shows how.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TypeVar

import torch
from tqdm import tqdm

from model.card import Card
from model.color import preview
from model.command import Parser, explain, is_out_of_memory, pick_device, run_command, say
from model.errors import CheckpointError, PictureError
from model.inference import Tiling, reconstruct
from model.inputs import Claims, Input, find_inputs
from model.layermasks import mask_sheet
from model.pictures import Photograph, read_photograph
from model.published import digest
from model.results import exposure_strip, write_exr, write_png
from model.unet import SIDE, MaskedUNet
from model.video import count_frames, read_frames
from model.weights import is_published, load_with_card
from pipeline.errors import HdrprepError, UsageError
from pipeline.records import FloatImage

__all__ = ["Weights", "load_weights", "main", "reconstruct", "reconstruct_picture"]

T_ = TypeVar("T_")


@dataclass(frozen=True, slots=True)
class Weights:
    """A network, where it computes, its model card, and the SHA-256 of the file that it came from."""

    network: MaskedUNet
    device: torch.device
    card: Card
    sha256: str

    def attributes(self) -> dict[str, str]:
        """Return what an EXR says of the weights that made it."""
        return {
            "hdrprep:weights_sha256": self.sha256,
            "hdrprep:preset": self.network.architecture.preset,
            "hdrprep:stage": self.card.stage or "unknown",
        }


def load_weights(file: str | Path, device: str = "auto") -> Weights:
    """Load weights to reconstruct with, ours or the authors' `.pth`, on `auto`, `cpu` or `cuda`.

    Raises CheckpointError with one sentence for a file that cannot be used, and for weights of stage
    `inpainting`, whose output is no radiance; UsageError for a file that is not there.
    """
    file = Path(file)
    if not file.exists():
        raise UsageError(f"there are no weights at {file}: name a file that model.train wrote")
    where = pick_device(device)
    network, card = load_with_card(file)
    if card.stage == "inpainting":
        raise CheckpointError(
            f"{file} was trained on inpainting alone, and its output is no radiance: "
            "train stage hdr from it (--init), and name those weights"
        )
    network = network.eval().to(where, memory_format=torch.channels_last)  # type: ignore[call-overload]
    sha256 = card.imported_sha256 if is_published(file) else None
    return Weights(network, where, card, sha256 or digest(file))


def reconstruct_picture(
    picture: str | Path, weights: Weights, out: str | Path | None = None, tiling: Tiling = "auto"
) -> FloatImage:
    """Return the radiance (H, W, 3) of a photograph, in [0, 65504], and write it to `out` as EXR if that is named.

    Raises PictureError with one sentence for a photograph that cannot be read.
    """
    photograph = read_photograph(Path(picture))
    for notice in photograph.notices:
        say(f"{picture}: {notice}")
    radiance = reconstruct(photograph.T, weights.network, weights.device, tiling)
    if out is not None:
        write_exr(Path(out), radiance, {**photograph.metadata, **weights.attributes()})
    return radiance


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run_command(lambda: reconstruct_all(parse(arguments)))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog="python -m model.reconstruct", description="LDR in, HDR out.", allow_abbrev=False)
    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        type=Path,
        metavar="INPUT",
        help="photograph, SDR video, or a folder, searched to its depth",
    )
    add("--weights", type=Path, required=True, metavar="FILE", help="written by model.train, or the authors' .pth")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="takes NAME.exr of each NAME.*, NAME/NAME.0001.exr of video",
    )
    add("--tile", type=tiling, default="auto", metavar="auto|none|N", help="side of the tiles; auto: as memory allows")
    add("--preview", action="store_true", help="write NAME_preview.png, tone-mapped, and NAME_exposures.png too")
    add("--masks", action="store_true", help="write NAME_masks.png, the masks of the layers, too")
    add("--skip-existing", action="store_true", help="leave results alone that are there; default: they are replaced")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    return parser.parse_args(arguments)


def tiling(text: str) -> Tiling:
    """Read the argument of --tile."""
    if text == "auto" or text == "none":
        return text  # type: ignore[return-value]
    if not text.isdecimal() or int(text) <= 0 or int(text) % SIDE:
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, none, or a multiple of {SIDE}")
    return int(text)


def reconstruct_all(options: argparse.Namespace) -> int:
    """Reconstruct every input; one that cannot be is told and counted, and stops no other."""
    weights = load_weights(options.weights, options.device)
    inputs = find_inputs(options.inputs)
    if options.masks and weights.network.architecture.masking != "feature":
        raise UsageError(f"--masks: a network of masking {weights.network.architecture.masking} has none to show")
    options.out.mkdir(parents=True, exist_ok=True)
    if not os.access(options.out, os.W_OK | os.X_OK):  # or every picture would be made first, and then be lost
        raise UsageError(f"--out {options.out}: nothing may be written there: name another folder")
    work = Work(options, weights, Claims(inputs))
    failed = 0
    for given in bar(inputs, "input"):
        try:
            work.do(given)
        except (HdrprepError, MemoryError, OSError, RuntimeError) as error:
            reason = str(error) if isinstance(error, HdrprepError) else explain(error)
            if reason is None:
                raise
            failed += 1
            remedy = f": choose tiles, --tile {8 * SIDE} or fewer pixels" if is_out_of_memory(error) else ""
            say(f"Error: {given.file}: {reason}{remedy}")
    return 1 if failed else 0


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done with each input."""

    options: argparse.Namespace
    weights: Weights
    claims: Claims

    def do(self, given: Input) -> None:
        """Read an input and write its results; say where each EXR is."""
        if given.is_video:
            self._video(given)
            return
        targets = given.targets(self.options.out, self._endings())
        self.claims.claim(given, targets)
        if not self._is_done(targets):
            photograph = read_photograph(given.file)
            for notice in photograph.notices:
                say(f"{given.file}: {notice}")
            self._finish(photograph, targets, partial(bar, unit="tile", description=given.file.name))

    def _video(self, given: Input) -> None:
        """Reconstruct the frames that are to be done, in order, one held at a time."""
        self.claims.claim(given, [self.options.out / given.place])
        if not given.file.is_file():
            raise PictureError("there is no such file")
        places = [self._frame(given, i) for i in range(count_frames(given.file))]
        self.claims.claim(given, chain.from_iterable(places))  # a photograph may be called clip/clip.0001
        open_ones = [i for i, targets in enumerate(places) if not self._is_done(targets)]
        with closing(read_frames(given.file, iter(open_ones))) as frames:
            for number, T in bar(frames, "frame", description=given.file.name, total=len(open_ones)):
                self._finish(Photograph(T), places[number], iter)

    def _frame(self, given: Input, number: int) -> list[Path]:
        return given.targets(self.options.out, self._endings(), frame=number + 1)

    def _endings(self) -> list[str]:
        pictures = ["_preview.png", "_exposures.png"] * self.options.preview + ["_masks.png"] * self.options.masks
        return [*pictures, ".exr"]  # the EXR comes last: where it is there, all is

    def _is_done(self, targets: Sequence[Path]) -> bool:
        return self.options.skip_existing and all(target.exists() for target in targets)

    def _finish(self, photograph: Photograph, targets: Sequence[Path], progress: Callable[..., Iterable[T_]]) -> None:
        """Reconstruct a picture and write what is asked for."""
        T, weights = photograph.T, self.weights
        radiance = reconstruct(T, weights.network, weights.device, self.options.tile, progress)  # type: ignore[arg-type]
        write: dict[str, Callable[[], object]] = {
            "preview": lambda: preview(radiance),
            "exposures": lambda: exposure_strip(T, radiance),
            "masks": lambda: mask_sheet(T, weights.network, weights.device),
        }
        for target in targets[:-1]:
            write_png(target, write[target.stem.rpartition("_")[2]]())  # type: ignore[arg-type]
        write_exr(targets[-1], radiance, {**photograph.metadata, **weights.attributes()})
        sys.stdout.write(f"{targets[-1]}\n")
        sys.stdout.flush()


def bar(things: Iterable[T_], unit: str, description: str | None = None, total: int | None = None) -> Iterator[T_]:
    """Show progress on a terminal; a bar for parts of an input goes with it, and one for a single thing is none."""
    if isinstance(things, list):
        total = len(things)
    hidden = not sys.stderr.isatty() or (description is not None and total == 1)
    return iter(
        tqdm(
            things, desc=description, total=total, unit=unit, leave=description is None, file=sys.stderr, disable=hidden
        )
    )


if __name__ == "__main__":
    raise SystemExit(main())
