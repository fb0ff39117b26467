"""Train the network from a bank: `python -m model.train --bank patches.zarr --out runs/first`.

`--stage inpainting` and `--stage hdr-pretraining` come before that, on a folder of photographs (`--photos`); `--init`
takes their weights on to the next stage.

Adam on the loss of Santos et al. 2020, Eq. 5, on patches as they are. Its perceptual terms need the weights of VGG-19:
`--vgg FILE`, or torchvision's, which are downloaded once; `--set train.perceptual_weight=0` trains without them.

A run that was stopped or killed goes on from its last checkpoint with `--resume`. On a CPU its losses are then the same
numbers, to the last bit, as those of a run that was never stopped (with the same machine, number of threads and version
of torch). On a GPU some sums are taken in no fixed order and the numbers differ in their last digits, unless
`train.deterministic` is true. `torchrun` trains on several GPUs, see `processes`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self, get_args

import torch

from model.arithmetic import cannot_compile, determinism
from model.checkpoint import WEIGHTS, list_checkpoints, load_state
from model.command import INTERRUPTED, Parser, is_out_of_memory, pick_device, run_command, say
from model.config import StageName, TrainSettings, resolve
from model.data import keep_freed_memory
from model.errors import TrainingError
from model.processes import Processes, joined
from model.run import Run, build, resume
from model.runlog import NoLog, RunLog, StepRecord
from pipeline.errors import UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run_command(lambda: train(parse(arguments)))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog="python -m model.train", description="Train the network from a bank.", allow_abbrev=False)
    bank = os.environ.get("HDRPREP_BANK", "patches.zarr")
    parser.add_argument("--bank", default=bank, help="bank to train from (default: HDRPREP_BANK, else patches.zarr)")
    parser.add_argument("--stage", choices=get_args(StageName), help="what is learned, and from what (default: hdr)")
    parser.add_argument("--init", metavar="FILE", help="weights to begin with, those of the stage before")
    parser.add_argument("--photos", metavar="DIR", help="photographs of stages inpainting and hdr-pretraining")
    parser.add_argument("--val", metavar="DIR", help="photographs to validate on (default: a tenth of --photos)")
    parser.add_argument("--holes", metavar="DIR", help="masks of stage inpainting (default: drawn at random)")
    parser.add_argument("--out", type=Path, default=Path("runs/hdr"), help="folder of the run (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint in --out")
    parser.add_argument("--steps", type=int, help="updates of the weights in all, those before --resume included")
    parser.add_argument("--batch-size", type=int, help="patches a step (default: 4)")
    parser.add_argument("--seed", type=int, help="of the initial weights and the order of patches (default: 0)")
    parser.add_argument("--workers", type=int, help="processes that read (default: none for a CPU, up to 8 for a GPU)")
    parser.add_argument("--vgg", metavar="FILE", help="weights of VGG (default: torchvision's, downloaded once)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML file; its section `train` is read")
    parser.add_argument("--set", action="append", default=[], metavar="train.KEY=VALUE", help="any other setting")
    return parser.parse_args(arguments)


def train(options: argparse.Namespace) -> int:
    """Build a run, go through its steps, and say where the weights are."""
    device = pick_device(options.device)
    if device.type == "cpu":
        keep_freed_memory()  # fetching the pages of each step anew takes a tenth of its time
    with StopRequest() as stop, joined(cuda=device.type == "cuda") as processes:
        settings, checkpoint = read_settings(options)
        with determinism(settings.deterministic), remedies(settings):
            run = prepare(options, settings, checkpoint, processes.pick_device(device), processes)
            with open_log(run) as log:
                go(run, log, stop)
    if processes.first:
        report(run, log, stop, options)
    unfinished = run.step < settings.steps and not run.has_converged()
    return INTERRUPTED if unfinished and stop.signal == signal.SIGINT else 0


def read_settings(options: argparse.Namespace) -> tuple[TrainSettings, Path | None]:
    """Return the settings that the command line asks for, and the checkpoint to go on from, if it is to."""
    out: Path = options.out
    checkpoints = list_checkpoints(out)
    if checkpoints and not options.resume:
        raise UsageError(f"{out} holds a run already: add --resume to go on with it, or name another --out")
    if options.resume and not checkpoints:
        raise UsageError(f"{out} holds no checkpoint to resume from: leave out --resume, or name another --out")
    if options.resume and options.init is not None:
        raise UsageError("--init is for the first step of a run, and --resume has weights of its own: leave one out")
    stored = load_state(checkpoints[-1]).settings if options.resume else None
    settings = resolve(options.config, options.set, given_flags(options), stored)
    return settings, checkpoints[-1] if options.resume else None


def given_flags(options: argparse.Namespace) -> dict[str, object]:
    """Return the settings that have a flag of their own, None where it was not given."""
    flags: dict[str, object] = {
        name: getattr(options, name) for name in ("stage", "steps", "batch_size", "seed", "workers")
    }
    for name in ("vgg", "init", "photos", "val", "holes"):  # whole paths, for a resume from elsewhere
        path = getattr(options, name)
        flags[name] = None if path is None else str(Path(path).absolute())
    return flags


def prepare(
    options: argparse.Namespace,
    settings: TrainSettings,
    checkpoint: Path | None,
    device: torch.device,
    processes: Processes,
) -> Run:
    """Make a new run, or one brought to its last checkpoint."""
    run = build(options.bank, options.out, settings, device, processes, begin=checkpoint is None)
    if checkpoint is not None:
        resume(run, checkpoint, load_state(checkpoint))
        say(f"Resuming after step {run.step} of {settings.steps}")
    options.out.mkdir(parents=True, exist_ok=True)
    return run


def open_log(run: Run) -> RunLog | NoLog:
    """Return where the first process tells about the run, and the others do not."""
    if not run.processes.first:
        return NoLog()
    return RunLog(run.out, run.step, run.settings.steps, run.settings.log_every, lazy=run.device.type != "cpu")


@contextmanager
def remedies(settings: TrainSettings) -> Iterator[None]:
    """Turn what the machine refuses into a sentence that says which setting helps."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            parts = f" in {settings.accumulate} parts" if settings.accumulate > 1 else ""
            raise TrainingError(
                f"out of memory with {settings.batch_size} patches a step{parts}: raise train.accumulate, which takes "
                "them in more parts for the same result, or lower --batch-size or train.width"
            ) from error
        if cannot_compile(error):
            reason = str(error).strip().partition("\n")[0]
            raise TrainingError(f"torch cannot compile the network ({reason}): set train.compile=false") from error
        raise


def go(run: Run, log: RunLog | NoLog, stop: StopRequest) -> None:
    """Train until the last step, convergence or a request to stop; the last thing done is a checkpoint."""
    settings = run.settings
    if run.has_converged():
        return
    for parts in run.batches():
        epoch, rate = run.epoch(), run.rate()
        loss = run.update(parts)
        stopping, patch_ids = run.processes.agree(
            stop.signal is not None, [i for part in parts for i in part.patch_ids]
        )
        validation_loss = None
        if run.stage.validation_length and (run.step % settings.validate_every == 0 or run.step >= settings.steps):
            with log.pause():
                validation_loss = run.validate()
                log.show(run.step, run.panel())
        log.add(StepRecord(run.step, epoch, patch_ids, rate, loss, validation_loss))
        last = run.step >= settings.steps or run.has_converged()
        if run.step % settings.checkpoint_every == 0 or last or stopping:
            log.flush()  # first, because it refuses to go on with a loss that is not a number
            with log.pause():
                run.save()
        if last or stopping:
            return


def report(run: Run, log: RunLog | NoLog, stop: StopRequest, options: argparse.Namespace) -> None:
    """Say where the weights are, why the run ended before its last step if it did, and how to go on."""
    loss = "none" if log.last_loss is None else f"{log.last_loss:.6f}"
    sys.stdout.write(f"weights: {run.out / WEIGHTS}\nstep: {run.step}\nloss: {loss}\n")
    if run.step >= run.settings.steps:
        return
    if run.has_converged():
        say(
            f"Ended after step {run.step} of {run.settings.steps}: {run.progress.waited} validations without "
            "improvement (train.stop_patience)"
        )
        return
    say(f"Stopped after step {run.step} of {run.settings.steps}; to go on: {resume_command(options)}")


class StopRequest:
    """Turns the first Ctrl-C or SIGTERM into a request that is met between two steps; the second one stops at once."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._receive) for number in self._SIGNALS}
        return self

    def __exit__(self, _type: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None) -> None:
        self._give_back()

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self.signal = signal.Signals(number)
        # Not through a stream: the signal may have come in the middle of a write to it.
        os.write(2, b"\nStopping after this step, with a checkpoint; once more: at once, without one\n")
        self._give_back()

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def resume_command(options: argparse.Namespace) -> str:
    """Return the command that goes on where this one stopped; the checkpoint knows the settings."""
    device = [] if options.device == "auto" else ["--device", options.device]
    command = ["python", "-m", "model.train", "--bank", options.bank, "--out", str(options.out), "--resume"]
    return shlex.join([*command, *device])


if __name__ == "__main__":
    raise SystemExit(main())
