"""Train the network from a bank: `python -m model.train --bank patches.zarr --out runs/first`.

`--stage inpainting` and `--stage hdr-pretraining` come before that, on a folder of photographs (`--photos`); `--init`
takes their weights on to the next stage.

Adam on the loss of Santos et al. 2020, Eq. 5, at a constant rate, on patches as they are. Its perceptual terms need the
weights of VGG-19: `--vgg FILE`, or torchvision's, which are downloaded once; `--set train.perceptual_weight=0` trains
without them.

A run that was stopped or killed goes on from its last checkpoint with `--resume`. On a CPU its losses are then the same
numbers, to the last bit, as those of a run that was never stopped (with the same machine, number of threads and version
of torch). On a GPU some sums are taken in no fixed order, and the numbers differ in their last digits.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self, get_args

from model.checkpoint import WEIGHTS, list_checkpoints, load_state
from model.command import INTERRUPTED, Parser, is_out_of_memory, pick_device, run_command, say
from model.config import StageName, resolve
from model.errors import TrainingError
from model.run import Run, build, resume
from model.runlog import RunLog, StepRecord
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
    with StopRequest() as stop:
        run = prepare(options)
        settings = run.settings
        with RunLog(run.out, run.step, settings.steps, settings.log_every, lazy=run.device.type != "cpu") as log:
            try:
                go(run, log, stop)
            except (MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                raise TrainingError(
                    f"out of memory with {settings.batch_size} patches a step: lower --batch-size"
                ) from error
    loss = "none" if log.last_loss is None else f"{log.last_loss:.6f}"
    sys.stdout.write(f"weights: {run.out / WEIGHTS}\nstep: {run.step}\nloss: {loss}\n")
    if stop.signal is None or run.step >= settings.steps:
        return 0
    say(f"Stopped after step {run.step} of {settings.steps}; to go on: {resume_command(options)}")
    return INTERRUPTED if stop.signal == signal.SIGINT else 0


def prepare(options: argparse.Namespace) -> Run:
    """Make the run that the command line asks for: a new one, or one brought to its last checkpoint."""
    out: Path = options.out
    checkpoints = list_checkpoints(out)
    if checkpoints and not options.resume:
        raise UsageError(f"{out} holds a run already: add --resume to go on with it, or name another --out")
    if options.resume and not checkpoints:
        raise UsageError(f"{out} holds no checkpoint to resume from: leave out --resume, or name another --out")
    state = load_state(checkpoints[-1]) if options.resume else None
    flags = {name: getattr(options, name) for name in ("stage", "steps", "batch_size", "seed", "workers")}
    for name in ("vgg", "init", "photos", "val", "holes"):  # whole paths, for a resume from elsewhere
        path = getattr(options, name)
        flags[name] = None if path is None else str(Path(path).absolute())
    if options.resume and options.init is not None:
        raise UsageError("--init is for the first step of a run, and --resume has weights of its own: leave one out")
    settings = resolve(options.config, options.set, flags, None if state is None else state.settings)
    run = build(options.bank, out, settings, pick_device(options.device), begin=state is None)
    if state is not None:
        resume(run, checkpoints[-1], state)
        say(f"Resuming after step {run.step} of {settings.steps}")
    out.mkdir(parents=True, exist_ok=True)
    return run


def go(run: Run, log: RunLog, stop: StopRequest) -> None:
    """Train until the last step or a request to stop; the last thing done is a checkpoint."""
    settings = run.settings
    for batch in run.batches():
        epoch = run.epoch()
        loss = run.update(batch)
        last = run.step >= settings.steps
        validation_loss = None
        if run.stage.validation_length and (run.step % settings.validate_every == 0 or last):
            with log.pause():
                validation_loss = run.validate()
        log.add(StepRecord(run.step, epoch, batch.patch_ids, settings.learning_rate, loss, validation_loss))
        if run.step % settings.checkpoint_every == 0 or last or stop.signal is not None:
            log.flush()  # first, because it refuses to go on with a loss that is not a number
            with log.pause():
                run.save()
        if stop.signal is not None:
            return


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
