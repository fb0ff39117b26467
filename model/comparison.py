"""`python -m model.evaluate compare TEST REFERENCE`: every metric of one pair of pictures, or of two folders.

Legend: H, W height and width in pixels.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from model.command import explain, pick_device, say
from model.comparison_report import folder_text, json_ready, means, pair_text
from model.errors import PictureError
from model.metrics import compare
from model.metrics.cvvdp import color_video_vdp, require_cvvdp
from model.metrics.gamma import GAMMA
from model.metrics.result import Record
from model.pictures import STILL_SUFFIXES, read_ldr
from pipeline.errors import HdrprepError, SourceError, UsageError
from pipeline.frames import READABLE, kind_of, read_frame

if TYPE_CHECKING:
    Subcommands = argparse._SubParsersAction[Any]

Linear = npt.NDArray[np.floating[Any]]  # (H, W, 3) scene-linear BT.709
CODE_TOLERANCE = 0.01  # codes of 16 bits: float32 in [0, 1] is off by 0.004 at most


def add_command(subcommands: Subcommands) -> None:
    """Add `compare` to the commands of `model.evaluate`."""
    told = "Measure how near a picture comes to its reference, or the pictures of two folders, matched by name."
    parser = subcommands.add_parser("compare", help="every metric of a pair, or of two folders", description=told)
    parser.add_argument("test", type=Path, metavar="TEST", help="HDR or LDR picture, or a folder")
    parser.add_argument("reference", type=Path, metavar="REFERENCE", help="HDR picture, or a folder")
    parser.add_argument("--gamma", type=positive, default=GAMMA, help=f"linearises LDR pictures: V^gamma ({GAMMA:g})")
    told = "of the reference in cd/m2 (100): one factor multiplies both; 'none': they are in cd/m2 already"
    parser.add_argument("--mean-luminance", type=luminance_or_none, default=100.0, metavar="L", help=told)
    parser.add_argument("--ppd", type=positive, default=30.0, help="pixels per visual degree, for HDR-VDP-2 (30)")
    parser.add_argument("--no-crf-correction", action="store_true", help="leave out the metrics after the correction")
    parser.add_argument("--cvvdp", action="store_true", help="ColorVideoVDP too (needs the extra of that name)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument("--json", action="store_true", help="write JSON instead of tables")
    parser.set_defaults(work=run)


def positive(text: str) -> float:
    """Read a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def luminance_or_none(text: str) -> float | None:
    """Read a luminance in cd/m2, or `none`."""
    return None if text == "none" else positive(text)


def run(options: argparse.Namespace) -> int:
    """Measure what the command line names, write it to stdout and return the exit status."""
    for path in (options.test, options.reference):
        if not path.exists():
            raise UsageError(f"there is no {path}: name a picture or a folder")
    if options.test.is_dir() != options.reference.is_dir():
        raise UsageError("TEST and REFERENCE are two pictures or two folders, and not one of each")
    if options.cvvdp:
        require_cvvdp()
    options.device = pick_device(options.device)
    if options.test.is_dir():
        return compare_folders(options)
    records = measure(options.test, options.reference, options)
    write(json_ready(records), pair_text(records), options)
    return 0


def compare_folders(options: argparse.Namespace) -> int:
    """Measure the pictures that are in both folders; one that cannot be read is told, and stops no other."""
    found: dict[str, dict[str, Record]] = {}
    pairs, failed = match(options.test, options.reference), 0
    for name, files in tqdm(pairs.items(), unit="pair", file=sys.stderr, disable=not sys.stderr.isatty()):
        try:
            found[name] = measure(*files, options)
        except (HdrprepError, MemoryError, OSError, RuntimeError) as error:
            reason = str(error) if isinstance(error, HdrprepError) else explain(error)
            if reason is None:
                raise
            failed += 1
            say(f"Error: {name}: {reason}")
    if found:
        averages = means(found)
        told = {"pairs": {name: json_ready(records) for name, records in found.items()}, "mean": json_ready(averages)}
        write(told, folder_text(found, averages), options)
    return 1 if failed or not found else 0


def match(tests: Path, references: Path) -> dict[str, tuple[Path, Path]]:
    """Return test and reference by their name without suffix, and say on stderr which have no partner.

    A reference is of an HDR format; PNG and JPEG files below a folder are mostly ordinary pictures. The two folders
    may be one, of pairs like a.png and a.exr: nothing is compared with itself.
    """
    of_reference = by_name(references, lambda file: file.suffix.lower() in READABLE)
    taken = {file.resolve() for file in of_reference.values()}
    of_test = by_name(tests, lambda file: file.resolve() not in taken)
    for folder, mine, other in ((tests, of_test, of_reference), (references, of_reference, of_test)):
        alone = sorted(mine[name].name for name in mine.keys() - other.keys())
        if alone:
            say(f"without a partner in the other folder, left out: {', '.join(alone)} (in {folder})")
    both = {name: (of_test[name], of_reference[name]) for name in sorted(of_test.keys() & of_reference.keys())}
    if not both:
        say(f"Error: no picture of {tests} has the name of an HDR picture of {references}")
    return both


def by_name(folder: Path, wanted: Callable[[Path], bool]) -> dict[str, Path]:
    """Return the stills right below a folder that are wanted, by their name without suffix."""
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() not in READABLE | STILL_SUFFIXES or kind_of(file) != "still" or not wanted(file):
            continue
        other = found.setdefault(file.stem, file)
        if other != file:
            raise UsageError(f"{other} and {file} have one name, and only one can be compared: move the other away")
    return found


def measure(test: Path, reference: Path, options: argparse.Namespace) -> dict[str, Record]:
    """Return every metric of two files; `test_gamma` among the conditions is what linearised the test picture."""
    for file in (test, reference):
        check_name(file)
    R = read_reference(reference)
    T, gamma = read_test(test, options.gamma)
    scale = {"mean_luminance": options.mean_luminance, "device": options.device}
    records = compare(T, R, ppd=options.ppd, crf_correction=not options.no_crf_correction, **scale)
    if options.cvvdp:
        records["color_video_vdp"] = color_video_vdp(T, R, **scale).record()
    return {name: {**record, "test_gamma": gamma} for name, record in records.items()}


def check_name(file: Path) -> None:
    """Raise PictureError where a path is not UTF-8: OpenImageIO opens no such file."""
    try:
        str(file).encode()
    except UnicodeEncodeError as error:
        shown = str(file).encode(errors="replace").decode()
        raise PictureError(f"the name {shown} is not UTF-8, and such files cannot be read: rename it") from error


def read_reference(file: Path) -> Linear:
    """Read a reference, which must be an HDR picture: an LDR one has lost what is to be measured."""
    try:
        return read_still(file)
    except SourceError as error:
        raise PictureError(f"the reference {file} cannot be used, an HDR picture is needed: {error}") from error


def read_test(file: Path, gamma: float) -> tuple[Linear, float | None]:
    """Read a test picture; return it linear, and the gamma that made it so, None where the file is an HDR one.

    HDR is what the pipeline's readers take as such: a PNG that says it is PQ and a JPEG with a gain map are.
    """
    try:
        return read_still(file), None
    except SourceError as error:
        if file.suffix.lower() not in STILL_SUFFIXES:
            raise PictureError(f"the test picture {file} cannot be used: {error}") from error
    try:
        return linearise(read_ldr(file), gamma), gamma
    except PictureError as error:
        raise PictureError(f"the test picture {file} cannot be used: {error}") from error


def read_still(file: Path) -> Linear:
    """Read an HDR picture; raises SourceError where it is none."""
    if kind_of(file) != "still":
        raise SourceError("it has many frames: name a picture")
    return read_frame(file).pixels


def linearise(T: Linear, gamma: float) -> Linear:
    """Return T^gamma in float64, of the code values themselves: float32 rounding would show in the sixth decimal.

    Values that a colour profile has put between the codes stay as they are.
    """
    level = T.astype(np.float64) * 65535  # a whole number for 8 bits too: 65535 = 257 * 255
    code = np.rint(level)
    exact: Linear = np.where(np.abs(level - code) < CODE_TOLERANCE, code, level) / 65535
    return exact**gamma


def write(told: Mapping[str, object], text: str, options: argparse.Namespace) -> None:
    """Write the results to stdout."""
    sys.stdout.write(json.dumps(told, indent=2, allow_nan=False) + "\n" if options.json else text)
    sys.stdout.flush()
