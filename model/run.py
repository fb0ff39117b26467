"""A training run: what it is made of, one step of it, a validation, its state on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim import Adam
from torch.utils.data import DataLoader, Dataset

from model.checkpoint import BEST, RunState, begin_with, restore, save_checkpoint, save_weights, versions
from model.command import say
from model.config import TrainSettings
from model.data import Batches, Draw, Order, make_loader, one_pass, start_reading
from model.errors import TrainingError
from model.losses import Loss
from model.stages import Stage, open_stage
from model.unet import MaskedUNet
from model.vgg import Vgg
from model.vgg_weights import fingerprint, load_vgg
from pipeline.errors import HdrprepError, UsageError

AnyBatch = Any  # of the stage's own kind, with `patch_ids`
MOST_WORKERS = 8  # processes that read for a GPU where nothing else is said


@dataclass(slots=True)
class Run:
    """A training run and how far it has come: `step` updates of the weights."""

    out: Path
    settings: TrainSettings
    device: torch.device
    stage: Stage
    network: MaskedUNet
    optimizer: Adam
    vgg: Vgg | None  # None where the loss has no perceptual terms
    step: int = 0
    best_validation: float | None = None
    _validation_loader: DataLoader[Any] | None = field(default=None, repr=False)

    @property
    def order(self) -> Order:
        """Return the order in which patches are trained on."""
        return self.stage.order

    def batches(self) -> Iterator[AnyBatch]:
        """Read the batches of all steps to come."""
        batches = Batches(self.order, self.settings.batch_size, self.step, self.settings.steps)
        return _read(self._loader(self.stage.train, batches))

    def update(self, batch: AnyBatch) -> Loss:
        """Take one step of Adam and return the loss before it, numbers still on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(batch)
        loss.total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        return Loss(loss.total.detach(), {name: term.detach() for name, term in loss.terms.items()})

    @torch.no_grad()
    def validate(self) -> float:
        """Return the mean loss over the validation patches; the weights are kept as the best ones if it is lowest."""
        if self._validation_loader is None:  # kept, so that its processes are started once
            batches = one_pass(self.stage.validation_length, self.settings.batch_size)
            self._validation_loader = self._loader(self.stage.validation, batches)
        total = 0.0
        for batch in _read(self._validation_loader):
            total += float(self._loss(batch).total) * len(batch.patch_ids)
        loss = total / self.stage.validation_length
        if self.best_validation is None or loss < self.best_validation:
            self.best_validation = loss
            save_weights(self.out / BEST, self.network, self.state())
        return loss

    def save(self) -> None:
        """Write a checkpoint."""
        if not all(bool(weights.isfinite().all()) for weights in self.network.parameters()):
            raise TrainingError(
                f"step {self.step} made weights that are not finite numbers, nothing was saved: "
                "lower train.learning_rate and resume from the checkpoint before"
            )
        save_checkpoint(self.out, self.state(), self.network, self.optimizer, self.settings.keep_checkpoints)

    def epoch(self) -> int:
        """Return the pass over the training patches in which the next step begins."""
        return self.order.state(self.step * self.settings.batch_size).epoch

    def state(self) -> RunState:
        """Return what a checkpoint says besides tensors."""
        return RunState(
            step=self.step,
            sampler=self.order.state(self.step * self.settings.batch_size),
            settings=self.settings,
            bank_fingerprint=self.stage.fingerprint,
            vgg_fingerprint=None if self.vgg is None else fingerprint(self.vgg),
            best_validation=self.best_validation,
            versions=versions(),
        )

    def _loss(self, batch: AnyBatch) -> Loss:
        example = self.stage.example(batch, self.device)
        return self.stage.loss(self.network(example.T, example.M), example, self.vgg)

    def _loader(self, dataset: Dataset[Any], batches: Iterable[list[Draw]]) -> DataLoader[Any]:
        workers = self.settings.workers
        if workers is None:
            workers = 0 if self.device.type == "cpu" else min(MOST_WORKERS, max((os.cpu_count() or 1) - 1, 1))
        return make_loader(dataset, batches, workers, self.device.type == "cuda", self.stage.collate)


def build(bank: str, out: Path, settings: TrainSettings, device: torch.device, begin: bool = True) -> Run:
    """Open the bank or the photographs and make a run of no steps yet."""
    stage = open_stage(settings, bank)
    network = MaskedUNet(settings.architecture())
    network.initialise(settings.seed)
    # Channels-last is the faster layout for convolutions on CPUs and GPUs alike; it changes no number's meaning.
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if begin and settings.init is not None:
        begin_with(network, Path(settings.init))
    describe(stage, settings, device)
    return Run(
        out=out,
        settings=settings,
        device=device,
        stage=stage,
        network=network,
        optimizer=Adam(network.parameters(), lr=settings.learning_rate, betas=settings.betas),
        vgg=prepare_vgg(settings, device),
    )


def prepare_vgg(settings: TrainSettings, device: torch.device) -> Vgg | None:
    """Return the VGG of the perceptual terms on the device, None where the loss has none."""
    if not settings.perceptual():
        return None
    file = None if settings.vgg is None else Path(settings.vgg)
    vgg = load_vgg(settings.vgg_depth, file, settings.vgg_scale)
    return vgg.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def resume(run: Run, checkpoint: Path, state: RunState) -> None:
    """Bring a fresh run to where a checkpoint was written."""
    if run.vgg is not None and fingerprint(run.vgg) != state.vgg_fingerprint:
        raise UsageError(
            "the run was made with other weights of VGG: name their file with --vgg to resume it, "
            "or start another run with another --out"
        )
    run.step = run.order.taken(state.sampler) // run.settings.batch_size
    restore(checkpoint, run.network, run.optimizer)
    run.best_validation = state.best_validation


def describe(stage: Stage, settings: TrainSettings, device: torch.device) -> None:
    """Say what is trained on, and what is missing."""
    for notice in stage.notices:
        say(notice if notice[0].isupper() else f"Training on {device.type}, stage {settings.stage}; {notice}")


def _read(loader: DataLoader[Any]) -> Iterator[AnyBatch]:
    for batch in start_reading(loader):
        if isinstance(batch, HdrprepError):
            raise batch
        yield batch
