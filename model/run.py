"""A training run: what it is made of, one step of it, a validation, its state on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim import Adam
from torch.utils.data import DataLoader

from model.checkpoint import BEST, RunState, restore, save_checkpoint, save_weights, versions
from model.command import say
from model.config import TrainSettings
from model.data import (
    BankDataset,
    Batch,
    Batches,
    Order,
    PatchIndex,
    Sides,
    make_loader,
    split_bank,
    start_reading,
    to_example,
)
from model.errors import TrainingError
from model.losses import Loss, hdr_loss
from model.unet import MaskedUNet
from model.vgg import Vgg
from model.vgg_weights import fingerprint, load_vgg
from pipeline.bank import BankReader
from pipeline.errors import HdrprepError, UsageError

MOST_WORKERS = 8  # processes that read for a GPU where nothing else is said


@dataclass(slots=True)
class Run:
    """A training run and how far it has come: `step` updates of the weights."""

    out: Path
    settings: TrainSettings
    device: torch.device
    bank: str
    bank_fingerprint: str
    order: Order
    validation: PatchIndex
    network: MaskedUNet
    optimizer: Adam
    vgg: Vgg | None  # None where the loss has no perceptual terms
    step: int = 0
    best_validation: float | None = None
    _validation_loader: DataLoader[Any] | None = field(default=None, repr=False)

    def batches(self) -> Iterator[Batch]:
        """Read the batches of all steps to come."""
        batches = Batches(self.order, self.settings.batch_size, self.step, self.settings.steps)
        return _read(self._loader(self.order.index, batches))

    def update(self, batch: Batch) -> Loss:
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
            places, size = range(len(self.validation)), self.settings.batch_size
            batches = [list(places[i : i + size]) for i in places[::size]]
            self._validation_loader = self._loader(self.validation, batches)
        total = 0.0
        for batch in _read(self._validation_loader):
            total += float(self._loss(batch).total) * len(batch.patch_ids)
        loss = total / len(self.validation)
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
            bank_fingerprint=self.bank_fingerprint,
            vgg_fingerprint=None if self.vgg is None else fingerprint(self.vgg),
            best_validation=self.best_validation,
            versions=versions(),
        )

    def _loss(self, batch: Batch) -> Loss:
        T, H, M = to_example(batch, self.device, self.settings.alpha)
        return hdr_loss(self.network(T, M), H, M, self.settings.hdr_weights(), self.vgg)

    def _loader(self, index: PatchIndex, batches: Iterable[list[int]]) -> DataLoader[Any]:
        workers = self.settings.workers
        if workers is None:
            workers = 0 if self.device.type == "cpu" else min(MOST_WORKERS, max((os.cpu_count() or 1) - 1, 1))
        return make_loader(BankDataset(self.bank, index), batches, workers, pin=self.device.type == "cuda")


def build(bank: str, out: Path, settings: TrainSettings, device: torch.device) -> Run:
    """Open the bank and make a run of no steps yet."""
    reader = BankReader(bank)
    sides = split_bank(reader, settings.validation_patches)
    reader.pair(int(sides.train.rows[0]))  # a bank that lost its pixels is found out before anything is written
    network = MaskedUNet(settings.architecture())
    network.initialise(settings.seed)
    # Channels-last is the faster layout for convolutions on CPUs and GPUs alike; it changes no number's meaning.
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    describe(sides, device, wants_validation=reader.attributes["config"].get("split", {}).get("validation") != 0)
    return Run(
        out=out,
        settings=settings,
        device=device,
        bank=bank,
        bank_fingerprint=reader.fingerprint(),
        order=Order(settings.seed, sides.train),
        validation=sides.validation,
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


def describe(sides: Sides, device: torch.device, wants_validation: bool) -> None:
    """Say what is trained on, and where the bank gives no validation although it is to."""
    say(
        f"Training on {device.type}; patches to train on: {len(sides.train)} (sources: {sides.train_sources}), "
        f"to validate on: {len(sides.validation)} (sources: {sides.validation_sources})"
    )
    if wants_validation and not len(sides.validation):
        say(
            "The bank has too few sources for a validation side: training without validation "
            "(a source lies on one side as a whole, by its hash; split.validation of the bank is its share)"
        )


def _read(loader: DataLoader[Any]) -> Iterator[Batch]:
    for batch in start_reading(loader):
        if isinstance(batch, HdrprepError):
            raise batch
        yield batch
