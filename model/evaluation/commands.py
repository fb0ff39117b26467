"""The command line of evaluation: `python -m model.evaluate testset | table1 | table2 | fig8 | ablation`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from model.command import pick_device, say
from model.comparison import positive
from model.errors import EvaluationError
from model.evaluation import candidates, making
from model.evaluation.ablation import CropJob, make_ablation, parse_windows
from model.evaluation.methods import Method, built_in, check_names, parse_method
from model.evaluation.page import write_page
from model.evaluation.results import Results
from model.evaluation.saturation import bins_of, make_figure, write_bins
from model.evaluation.scoring import Job, MetricSettings, Score, reference_previews, score_all
from model.evaluation.sections import save
from model.evaluation.tables import TableName, make_table, pick_versus, write_pictures, write_table
from model.evaluation.testset import TestSet
from model.evaluation.variants import find_variants
from model.evaluation.viewing import add_to_viewer
from pipeline.errors import UsageError

Subcommands = Any  # argparse's own type has no public name


def add_commands(subcommands: Subcommands) -> None:
    """Add the five subcommands; each leaves its function in `work`."""
    _add_testset(subcommands)
    table1 = _add(subcommands, "table1", run_table1, "methods x metrics with intervals over a test set")
    table1.add_argument("--versus", metavar="NAME", help="method that differences are to (default: the first network)")
    table2 = _add(subcommands, "table2", run_table2, "the same over checkpoints: masking and pre-training")
    table2.add_argument("--versus", metavar="NAME", help="method that differences are to (default: the first network)")
    table2.add_argument(
        "--runs", type=Path, metavar="DIR", help="take the weights of the runs that configs/table2 names"
    )
    fig8 = _add(subcommands, "fig8", run_fig8, "quality against the saturated share of the picture")
    fig8.add_argument(
        "--edges", type=_percentages, default=[], metavar="P,P,...", help="ranges in percent, as 0,5,10,20"
    )
    ablation = _add(subcommands, "ablation", run_ablation, "crops of several methods side by side")
    ablation.add_argument("--crop", action="append", default=[], metavar="PICTURE[:x,y,side]", help="repeatable")
    ablation.add_argument(
        "--crops", type=_positive, default=3, metavar="N", help="rows, where none is named (default: 3)"
    )
    ablation.add_argument("--side", type=_positive, default=256, metavar="PIXELS", help="of a window (default: 256)")
    ablation.add_argument("--stops", type=float, help="exposure of the display (default: by each window's highlights)")


def _add_testset(subcommands: Subcommands) -> None:
    parser = subcommands.add_parser(
        "testset", help="photograph held-out sources by the virtual camera", allow_abbrev=False
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--bank", metavar="BANK", help="take the sources of its test side (split.test)")
    source.add_argument("--folder", type=Path, metavar="DIR", help="take the HDR pictures of a folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="takes NAME.png, NAME.exr, testset.json")
    parser.add_argument("--count", type=_positive, default=75, help="sources to take (default: 75, Section 5.1)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice and the cameras (default: 0)")
    parser.add_argument(
        "--max-side", type=_positive, metavar="PIXELS", help="shrink larger frames (default: as they are)"
    )
    shares = "percent of channel values to saturate: each source at each share (default: drawn, 5 to 15)"
    parser.add_argument("--saturated", type=_percentages, default=[], metavar="P,P,...", help=shares)
    parser.add_argument("--workers", type=_positive, default=1, metavar="N", help="processes (default: 1)")
    parser.set_defaults(work=run_testset)


def _add(subcommands: Subcommands, name: str, work: Callable[..., int], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subcommands.add_parser(name, help=text, allow_abbrev=False)
    parser.add_argument("--testset", type=Path, required=True, metavar="DIR", help="made by testset")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="takes tables, page and kept results")
    method = "NAME=WEIGHTS.safetensors, NAME=FOLDER of results, input or expansion; repeatable"
    parser.add_argument("--method", action="append", default=[], metavar="METHOD", help=method)
    parser.add_argument("--workers", type=_positive, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument(
        "--align", choices=("none", "exposed"), default="none", help="scale of all results (default: none)"
    )
    parser.add_argument(
        "--mean-luminance", type=positive, default=100.0, metavar="CD/M2", help="of references (default: 100)"
    )
    parser.add_argument("--ppd", type=positive, default=30.0, help="pixels per visual degree (default: 30)")
    parser.add_argument("--no-crf", action="store_true", help="leave out the metrics with the camera's curve corrected")
    parser.set_defaults(work=work)
    return parser


def run_testset(options: argparse.Namespace) -> int:
    """Make a test set, or what is missing of it."""
    if options.bank is not None:
        found = candidates.of_bank(options.bank, options.seed)
    else:
        found = candidates.of_folder(options.folder)
    if any(share in (0.0, 1.0) for share in options.saturated):
        raise UsageError("--saturated: shares lie between 0 and 100 percent")
    chosen = candidates.choose(found, options.count, options.seed)
    if len(chosen) < options.count:
        say(f"{options.count} sources were asked for, and there are {len(chosen)}: all are taken")
    orders = making.orders(chosen, options.out, options.seed, options.max_side, options.saturated)
    taken = list(_progress(making.take_all(orders, options.workers), len(orders), "picture"))
    testset = making.describe(
        taken,
        seed=options.seed,
        wanted=options.count,
        candidates=len(found),
        held_out=options.bank is not None,
        max_side=options.max_side,
        saturated=options.saturated,
    )
    for rejected in testset.rejected:
        say(f"Error: {rejected.title}: {rejected.reason}")
    if not testset.pictures:
        raise EvaluationError("no source gave a picture")
    testset.save(options.out)
    sys.stdout.write(f"{options.out}: {len(testset.pictures)} pictures of {testset.scenes} scenes\n")
    return 1 if testset.rejected else 0


def run_table1(options: argparse.Namespace) -> int:
    """Methods x metrics: the named ones, and the two that need no file."""
    return _run_table(options, "table1", _methods(options))


def run_table2(options: argparse.Namespace) -> int:
    """Checkpoints x metrics."""
    methods = [parse_method(text) for text in options.method]
    methods += [] if options.runs is None else find_variants(options.runs)
    if not methods:
        raise UsageError("table2 compares checkpoints: name them with --method NAME=WEIGHTS.safetensors, or --runs DIR")
    check_names(methods)
    return _run_table(options, "table2", methods)


def _run_table(options: argparse.Namespace, name: TableName, methods: Sequence[Method]) -> int:
    if options.versus is not None:
        pick_versus(methods, options.versus)  # before hours of work
    results = _evaluate(options, methods)
    table = make_table(name, results, _settings(options), options.versus)
    files = [*write_table(options.out, table), write_pictures(options.out, name, results)]
    save(options.out, f"{name}.json", table)
    return _finish(options, files, results)


def run_fig8(options: argparse.Namespace) -> int:
    """Quality against saturation."""
    if len(options.edges) == 1:
        raise UsageError("--edges: name two or more, such as 0,10,20")
    bins_of(TestSet.load(options.testset).pictures, options.edges)  # before hours of work
    results = _evaluate(options, _methods(options))
    figure = make_figure(results, _settings(options), options.out, options.edges)
    files = [write_bins(options.out, figure), write_pictures(options.out, "fig8", results)]
    files += [options.out / chart for chart in figure.charts.values()]
    save(options.out, "fig8.json", figure)
    return _finish(options, files, results)


def run_ablation(options: argparse.Namespace) -> int:
    """Crops side by side; nothing is measured."""
    testset, methods = TestSet.load(options.testset), _methods(options, input_only=True)
    windows = parse_windows(options.crop, testset, options.side, options.crops)
    rest = (tuple(methods), options.testset, options.out, options.align, _device(options), options.stops)
    jobs = [CropJob(row, window, *rest) for row, window in enumerate(windows)]
    section = make_ablation(jobs, testset, options.out, options.workers)
    save(options.out, "ablation.json", section)
    return _finish(options, [options.out / section.panel], None)


def _methods(options: argparse.Namespace, input_only: bool = False) -> list[Method]:
    """Return the input, the classical operator, and what the command line names, each once."""
    methods = [built_in("input")] if input_only else [built_in("input"), built_in("expansion")]
    kinds = [method.kind for method in methods]
    named = [parse_method(text) for text in options.method]
    methods += [method for method in named if method.kind not in kinds]
    check_names(methods)
    return methods


def _settings(options: argparse.Namespace) -> MetricSettings:
    return MetricSettings(options.mean_luminance, options.ppd, not options.no_crf, options.align)


def _device(options: argparse.Namespace) -> str:
    return str(pick_device(options.device))


def _evaluate(options: argparse.Namespace, methods: Sequence[Method]) -> Results:
    """Score every method on every picture, and add the pictures to the viewer."""
    testset = TestSet.load(options.testset)
    told = (options.testset, options.out, _settings(options), _device(options))
    jobs = [Job(method, picture, *told) for picture in testset.pictures for method in methods]
    scores: list[Score] = []
    for score in _progress(score_all(jobs, options.workers), len(jobs), "result"):
        scores.append(score)
        if score.reason is not None:
            say(f"Error: {score.method} on {score.picture}: {score.reason}")
    results = Results.of(testset, methods, scores)
    if not results.common:
        raise EvaluationError("there is no picture for which every method has a result: nothing can be compared")
    measured = [p for p in testset.pictures if any(results.has(method, p) for method in methods)]  # whole, therefore
    add_to_viewer(options.out, results, reference_previews(options.testset, options.out, measured))
    return results


def _finish(options: argparse.Namespace, files: Sequence[Path], results: Results | None) -> int:
    """Write the page, name what was written, and tell by the status whether anything is missing."""
    page = write_page(options.out, TestSet.load(options.testset))
    sys.stdout.writelines(f"{file}\n" for file in (*files, page))
    if results is not None:
        reused = sum(score.reused for score in results.scores.values())
        say(f"{len(results.scores)} results, {reused} of them from before")
    return 1 if results is not None and results.failed else 0


def _progress(work: Any, total: int, unit: str) -> Any:
    return tqdm(work, total=total, unit=unit, file=sys.stderr, disable=not sys.stderr.isatty())


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def _percentages(text: str) -> list[float]:
    """Read rising percentages, as shares."""
    try:
        values = [float(part) / 100.0 for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(0 <= value <= 1 for value in values) or values != sorted(set(values)):
        raise argparse.ArgumentTypeError(f"{text} are not rising percentages, such as 5,10,20")
    return values
