"""A training run: what it is made of, one step of it, a validation, its state on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.utils.data import DataLoader, Dataset

from model.arithmetic import choose_precision, compile_network
from model.checkpoint import BEST, RunState, begin_with, restore, save_checkpoint, save_weights, versions
from model.command import say
from model.config import TrainSettings
from model.data import make_loader, start_reading
from model.errors import TrainingError
from model.losses import Loss
from model.order import Batches, Draw, Order, one_pass
from model.panels import SHOWN
from model.processes import Processes, Share, check_shares, synchronise
from model.schedule import Progress, after_validation, has_converged, learning_rate
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
    processes: Processes
    model: nn.Module  # the network itself, or what computes it in concert with other processes
    precision: torch.dtype
    step: int = 0
    best_validation: float | None = None
    progress: Progress = field(default_factory=Progress)
    _validation_loader: DataLoader[Any] | None = field(default=None, repr=False)
    _shown: AnyBatch | None = field(default=None, repr=False)

    @property
    def order(self) -> Order:
        """Return the order in which patches are trained on."""
        return self.stage.order

    def batches(self) -> Iterator[tuple[AnyBatch, ...]]:
        """Read the batches of all steps to come: of each, the parts that are this process's."""
        batches = Batches(self.order, self.settings.batch_size, self.step, self.settings.steps)
        shares = Share(batches, self.processes, self.settings.accumulate)
        parts = _read(self._loader(self.stage.train, shares))
        return zip(*[parts] * self.settings.accumulate, strict=True)

    def update(self, parts: Sequence[AnyBatch]) -> Loss:
        """Take one step of Adam and return the loss before it, of the whole batch, numbers still on the device."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        self.optimizer.zero_grad(set_to_none=True)
        losses = []
        for number, part in enumerate(parts, start=1):
            with synchronise(self.model, last=number == len(parts)):
                loss = self._loss(part, self.model)
                (loss.total / len(parts)).backward()  # type: ignore[no-untyped-call]
            losses.append(Loss(loss.total.detach(), {name: term.detach() for name, term in loss.terms.items()}))
        self.optimizer.step()
        self.step += 1
        return mean_loss(losses, self.processes)

    def rate(self) -> float:
        """Return the learning rate of the next step."""
        return learning_rate(self.settings, self.progress)

    def has_converged(self) -> bool:
        """Say whether training is to end before its last step."""
        return has_converged(self.settings, self.progress)

    @torch.no_grad()
    def validate(self) -> float:
        """Return the mean loss over the validation patches; the weights are kept as the best ones if it is lowest."""
        if self._validation_loader is None:  # kept, so that its processes are started once
            batches = one_pass(self.stage.validation_length, self.part_size())
            own = batches[self.processes.rank :: self.processes.count]
            self._validation_loader = self._loader(self.stage.validation, own)
        total = 0.0
        for batch in _read(self._validation_loader):
            total += float(self._loss(batch, self.network).total) * len(batch.patch_ids)
        whole = self.processes.sum(torch.tensor(total, dtype=torch.float64))
        loss = float(whole) / self.stage.validation_length
        if self.step % self.settings.validate_every == 0:  # a last step's own would not be there in a longer run
            self.progress = after_validation(self.settings, self.progress, loss)
        if self.best_validation is None or loss < self.best_validation:
            self.best_validation = loss
            if self.processes.first:
                save_weights(self.out / BEST, self.network, self.state())
        return loss

    def part_size(self) -> int:
        """Return how many patches a process takes at a time."""
        return self.settings.batch_size // (self.settings.accumulate * self.processes.count)

    @torch.no_grad()
    def panel(self) -> Tensor:
        """Return what the network makes of the first validation patches, (3, height, width) uint8, see `panels`."""
        if self._shown is None:
            batches = one_pass(min(self.stage.validation_length, SHOWN), SHOWN)
            self._shown = next(_read(make_loader(self.stage.validation, batches, 0, False, self.stage.collate)))
        example = self.stage.example(self._shown, self.device)
        return self.stage.panel(self._predict(self.network, example.T, example.M), example)

    def save(self) -> None:
        """Write a checkpoint."""
        if not all(bool(weights.isfinite().all()) for weights in self.network.parameters()):
            raise TrainingError(
                f"step {self.step} made weights that are not finite numbers, nothing was saved: "
                "lower train.learning_rate and resume from the checkpoint before"
            )
        if self.processes.first:
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
            progress=self.progress,
            versions=versions(),
        )

    def _loss(self, batch: AnyBatch, model: nn.Module) -> Loss:
        example = self.stage.example(batch, self.device)
        return self.stage.loss(self._predict(model, example.T, example.M), example, self.vgg)

    def _predict(self, model: nn.Module, T: Tensor, M: Tensor) -> Tensor:
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            Y: Tensor = model(T, M)
        return Y

    def _loader(self, dataset: Dataset[Any], batches: Iterable[list[Draw]]) -> DataLoader[Any]:
        workers = self.settings.workers
        if workers is None:
            workers = 0 if self.device.type == "cpu" else min(MOST_WORKERS, max((os.cpu_count() or 1) - 1, 1))
        return make_loader(dataset, batches, workers, self.device.type == "cuda", self.stage.collate)


def mean_loss(losses: Sequence[Loss], processes: Processes) -> Loss:
    """Return the mean of a step's losses over its parts and the processes."""
    names = ("total", *losses[0].terms)
    values = torch.stack([torch.stack([loss.total, *loss.terms.values()]) for loss in losses]).mean(dim=0)
    total, *terms = (processes.sum(values) / processes.count).unbind()
    return Loss(total, dict(zip(names[1:], terms, strict=True)))


def build(
    bank: str,
    out: Path,
    settings: TrainSettings,
    device: torch.device,
    processes: Processes | None = None,
    begin: bool = True,
) -> Run:
    """Open the bank or the photographs and make a run of no steps yet, of this process alone if no others are given.

    `begin` says whether its network is to begin with the weights that the settings name.
    """
    processes = Processes() if processes is None else processes
    check_shares(settings.batch_size, settings.accumulate, processes)
    stage = open_stage(settings, bank)
    network = make_network(settings, device, begin)
    describe(stage, settings, device)
    return Run(
        out=out,
        settings=settings,
        device=device,
        stage=stage,
        network=network,
        optimizer=Adam(network.parameters(), lr=settings.learning_rate, betas=settings.betas),
        vgg=prepare_vgg(settings, device),
        processes=processes,
        model=processes.replicate(network, device),
        precision=choose_precision(settings, device),
    )


def make_network(settings: TrainSettings, device: torch.device, begin: bool) -> MaskedUNet:
    """Return the network on the device, with weights drawn from the seed or, if it is to `begin` with them, `init`."""
    network = MaskedUNet(settings.architecture())
    network.initialise(settings.seed)
    # Channels-last is the faster layout for convolutions on CPUs and GPUs alike; it changes no number's meaning.
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if begin and settings.init is not None:
        begin_with(network, Path(settings.init))
    compile_network(settings, network)
    return network


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
    run.progress = state.progress


def describe(stage: Stage, settings: TrainSettings, device: torch.device) -> None:
    """Say what is trained on, and what is missing."""
    for notice in stage.notices:
        say(notice if notice[0].isupper() else f"Training on {device.type}, stage {settings.stage}; {notice}")


def _read(loader: DataLoader[Any]) -> Iterator[AnyBatch]:
    for batch in start_reading(loader):
        if isinstance(batch, HdrprepError):
            raise batch
        yield batch
