"""What a run tells about itself: a line of progress, metrics.jsonl, TensorBoard.

metrics.jsonl has one line a step: step, epoch, loss (weighted sum, mean over the batch), its terms by name before their
weights, lr (learning rate of Adam), and validation_loss on the steps that end with a validation. It holds nothing that
depends on the clock: a resumed run writes the same lines as one that was never stopped. Patches a second are in
TensorBoard alone.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from model.command import say
from model.errors import TrainingError
from model.losses import Loss
from pipeline.bank.files import replace_file

METRICS = "metrics.jsonl"


@dataclass(slots=True)
class StepRecord:
    """One step; `loss` is still on its device, so that logging does not make the GPU wait for the CPU."""

    step: int
    epoch: int
    patches: tuple[int, ...]  # their patch_ids
    lr: float
    loss: Loss
    validation_loss: float | None = None

    def values(self) -> Tensor:
        """Return loss and terms, (1 + terms,)."""
        return torch.stack([self.loss.total, *self.loss.terms.values()])

    def line(self, loss: float, terms: dict[str, float]) -> str:
        """Return the line of metrics.jsonl."""
        content = {"step": self.step, "epoch": self.epoch, "loss": loss, **terms, "lr": self.lr}
        if self.validation_loss is not None:
            content["validation_loss"] = self.validation_loss
        return json.dumps(content) + "\n"


class RunLog:
    """Takes one record a step. `lazy`: losses are read from the device every `log_every` steps only."""

    def __init__(self, out: Path, start: int, steps: int, log_every: int, lazy: bool) -> None:
        self.last_loss = truncate_metrics(out / METRICS, start)
        self._log_every, self._lazy, self._steps = log_every, lazy, steps
        self._pending: list[StepRecord] = []
        self._losses: list[float] = []  # since the last report
        self._terms: dict[str, float] = {}  # their sums, likewise
        self._patches = 0  # likewise
        self._seconds = 0.0  # likewise, without pauses
        self._since = self._begun = time.monotonic()
        self._start = start
        self._metrics = (out / METRICS).open("a", encoding="utf-8")
        # Events of steps that are about to be repeated would draw a second curve over the first.
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=start + 1)
        self._bar = tqdm(
            total=steps,
            initial=start,
            unit="step",
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None) -> None:
        self._bar.close()
        self._board.close()
        self._metrics.close()

    def add(self, record: StepRecord) -> None:
        """Take a step into the log."""
        self._pending.append(record)
        if record.step % self._log_every == 0 or not self._lazy:
            self.flush()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave the time of a validation or a checkpoint out of the patches a second."""
        self._seconds += time.monotonic() - self._since
        try:
            yield
        finally:
            self._since = time.monotonic()

    def flush(self) -> None:
        """Write all records down. Raises TrainingError if a loss is not a number; nothing was saved since then."""
        if not self._pending:
            return
        values = torch.stack([record.values() for record in self._pending]).tolist()
        for record, (loss, *terms) in zip(self._pending, values, strict=True):
            self._write(record, loss, dict(zip(record.loss.terms, terms, strict=True)))
        self._metrics.flush()
        self._pending.clear()

    def _write(self, record: StepRecord, loss: float, terms: dict[str, float]) -> None:
        if not math.isfinite(loss):
            ids = ", ".join(map(str, record.patches))
            raise TrainingError(
                f"the loss of step {record.step} is {loss} (patches {ids}): "
                "lower train.learning_rate, or look at these patches"
            )
        self.last_loss = loss
        self._metrics.write(record.line(loss, terms))
        self._losses.append(loss)
        self._terms = {name: self._terms.get(name, 0.0) + term for name, term in terms.items()}
        self._patches += len(record.patches)
        if record.validation_loss is not None:
            self._board.add_scalar("loss/validation", record.validation_loss, record.step)
            say(f"step {record.step}/{self._steps}  validation loss {record.validation_loss:.6f}")
        self._bar.update()
        self._bar.set_postfix_str(
            f"loss {loss:.4f}, rate {record.lr:.3g}, {self._speed():.2f} patches/s", refresh=False
        )
        if record.step % self._log_every == 0 or record.step == self._steps:
            self._report(record)

    def _report(self, record: StepRecord) -> None:
        mean, speed = sum(self._losses) / len(self._losses), self._speed()
        self._board.add_scalar("loss/train", mean, record.step)
        for name, term in self._terms.items():
            self._board.add_scalar(f"loss/{name}", term / len(self._losses), record.step)
        self._board.add_scalar("learning_rate", record.lr, record.step)
        self._board.add_scalar("patches_per_second", speed, record.step)
        if self._bar.disable:
            say(
                f"step {record.step}/{self._steps}  epoch {record.epoch}  loss {mean:.6f}  rate {record.lr:.3g}  "
                f"{speed:.2f} patches/s  {self._remaining(record.step)} left"
            )
        self._losses.clear()
        self._terms.clear()
        self._patches, self._seconds, self._since = 0, 0.0, time.monotonic()

    def show(self, step: int, panel: Tensor) -> None:
        """Take pictures (3, height, width) uint8 into TensorBoard."""
        self._board.add_image("patches", panel, step)

    def _remaining(self, step: int) -> str:
        """Return how long the steps to come will take, if with their validations they go on as they did."""
        seconds = (time.monotonic() - self._begun) / (step - self._start) * (self._steps - step)
        return str(timedelta(seconds=round(seconds)))

    def _speed(self) -> float:
        return self._patches / max(self._seconds + time.monotonic() - self._since, 1e-9)


class NoLog:
    """Of several processes, all but the first tell nothing."""

    last_loss: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _e: BaseException | None, _tb: TracebackType | None) -> None:
        pass

    def add(self, record: StepRecord) -> None:
        """Forget a step."""

    def pause(self) -> AbstractContextManager[None]:
        """Do nothing about the time."""
        return nullcontext()

    def flush(self) -> None:
        """Write nothing."""

    def show(self, step: int, panel: Tensor) -> None:
        """Show nothing."""


def truncate_metrics(file: Path, step: int) -> float | None:
    """Drop the lines of later steps than `step`, and a last line that a kill cut off; return the last loss left."""
    if not file.exists():
        return None
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    replace_file(file, lambda beside: _write_text(beside, "".join(kept)))
    return float(json.loads(kept[-1])["loss"]) if kept else None


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
