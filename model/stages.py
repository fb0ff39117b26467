"""The stages of training: what each learns from, what a step sees of it, what it minimises, what it is validated on.

stage            learns from                          loss                    Y, the network's output
inpainting       photographs with holes               Liu et al. 2018         the photograph, display-encoded
hdr-pretraining  HDR simulated from photographs       Eq. 5                   log(radiance + 1)
hdr              patches of a bank                    Eq. 5                   log(radiance + 1)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor
from torch.utils.data import Dataset

from model.augment import AugmentedBank
from model.balance import BalancedOrder
from model.config import TrainSettings
from model.data import BankDataset, Batch, Example, Sides, collate, split_bank, to_example
from model.holes import DrawnHoles, HoleSource, PicturedHoles
from model.inpainting import HoledBatch, HoledPhotographs, collate_holed, fill_colour, to_holed_example
from model.losses import Loss, hdr_loss, inpainting_loss
from model.order import Draw, Order
from model.panels import hdr_panel, inpainting_panel
from model.photographs import Photographs, PhotoIndex, index_of, split_names, survey
from model.pretraining import UNSATURATED, SimulatedHdr
from model.vgg import Vgg
from pipeline.bank import BankReader
from pipeline.camera import CameraSettings
from pipeline.errors import BankError, HdrprepError, UsageError
from pipeline.records import derive_seed

LEAST_PATCH = 256  # pixels a side, of which the deepest features keep two


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of training, ready to be read from."""

    order: Order  # of what is trained on
    train: Dataset[Any]
    validation: Dataset[Any]
    validation_length: int
    fingerprint: str  # of the bank or the photographs, for the record
    collate: Callable[[list[Any]], Any]
    example: Callable[[Any, torch.device], Example]  # of a batch
    loss: Callable[[Tensor, Example, Vgg | None], Loss]  # of Y
    panel: Callable[[Tensor, Example], Tensor]  # of Y, see `panels`
    notices: tuple[str, ...]  # what is trained on, and what is missing, a line each


def open_stage(settings: TrainSettings, bank: str) -> Stage:
    """Open what a stage learns from, and read one patch of it: what cannot be used is found out before a run begins.

    Raises UsageError, BankError or PictureError with one sentence.
    """
    stage = open_bank(settings, bank) if settings.stage == "hdr" else open_photographs(settings)
    first = stage.train[Draw(stage.order.place(0), 0)]
    if isinstance(first, HdrprepError):
        raise first
    size = first.hdr.shape[0] if settings.stage == "hdr" else settings.patch_size
    return replace(stage, notices=stage.notices + warn_of_small(size))


def open_bank(settings: TrainSettings, bank: str) -> Stage:
    """Return stage `hdr`."""
    reader = BankReader(bank)
    sides = split_bank(reader, settings.validation_patches)
    plain = BankDataset(bank, sides.train)
    order = Order if settings.balance == "none" else BalancedOrder.over
    wants_validation = reader.attributes["config"].get("split", {}).get("validation") != 0
    return Stage(
        order=order(settings.seed, sides.train),
        train=plain if settings.augment == "none" else augmented(plain, settings, reader),
        validation=BankDataset(bank, sides.validation),
        validation_length=len(sides.validation),
        fingerprint=reader.fingerprint(),
        collate=collate,
        example=bank_example(settings),
        loss=truth_loss(settings),
        panel=truth_panel,
        notices=describe_sides(sides, wants_validation),
    )


def augmented(plain: BankDataset, settings: TrainSettings, reader: BankReader) -> AugmentedBank:
    """Return what changes the bank's patches as it reads them; new cameras are drawn as the bank's own were."""
    seed = derive_seed(settings.seed, "augmentation", 0, 0, "train")
    if settings.augment == "flip":
        return AugmentedBank(plain, seed, None)
    try:
        camera = CameraSettings.model_validate(reader.attributes["config"].get("camera", {}))
    except ValidationError as error:
        raise BankError(
            "the camera that the bank was made with is not one that this version knows: set train.augment=flip"
        ) from error
    return AugmentedBank(plain, seed, camera)


def bank_example(settings: TrainSettings) -> Callable[[Batch, torch.device], Example]:
    """Return what makes examples of stored or simulated HDR patches."""
    return lambda batch, device: to_example(batch, device, settings.alpha)


def truth_loss(settings: TrainSettings) -> Callable[[Tensor, Example, Vgg | None], Loss]:
    """Return the loss of Eq. 5."""
    return lambda Y, example, vgg: hdr_loss(Y, example.H, example.M, settings.hdr_weights(), vgg)


def truth_panel(Y: Tensor, example: Example) -> Tensor:
    """Return pictures of radiance beside its truth."""
    return hdr_panel(*example, Y)


def warn_of_small(size: int) -> tuple[str, ...]:
    """Say that patches of so many pixels are too small for whole pictures, if they are.

    At 128 pixels and below the deepest of the seven halvings leaves one pixel, and all but the middle of the deepest
    kernels sees nothing but what the edge is continued by: on larger pictures it is used, and was never trained.
    """
    if size >= LEAST_PATCH:
        return ()
    return (
        f"Patches of {size} pixels are too small to learn what whole pictures need, for the deepest features see "
        f"hardly more than the edge (docs/experiment.md); train on {LEAST_PATCH} or more",
    )


def describe_sides(sides: Sides, wants_validation: bool) -> tuple[str, ...]:
    """Say what is trained on, and where the bank gives no validation although it is to."""
    found = (
        f"patches to train on: {len(sides.train)} (sources: {sides.train_sources}), "
        f"to validate on: {len(sides.validation)} (sources: {sides.validation_sources})"
    )
    if not wants_validation or len(sides.validation):
        return (found,)
    return (
        found,
        "The bank has too few sources for a validation side: training without validation and at a constant rate "
        "(a source lies on one side as a whole, by its hash; split.validation of the bank is its share)",
    )


def open_photographs(settings: TrainSettings) -> Stage:
    """Return stage `inpainting` or `hdr-pretraining`."""
    if settings.photos is None:
        raise UsageError(f"stage {settings.stage} learns from photographs: name their folder with --photos")
    train, validation, notices = photo_sides(settings, Path(settings.photos))
    suppliers = [
        Photographs(index, derive_seed(settings.seed, "photographs", 0, 0, side), settings.patch_size)
        for side, index in (("train", train), ("validation", validation))
    ]
    order = Order(settings.seed, train)
    shared: dict[str, Any] = {
        "order": order,
        "validation_length": min(len(validation), settings.validation_patches),
        "fingerprint": train.fingerprint,
        "notices": notices,
    }
    if settings.stage == "inpainting":
        return inpainting(settings, suppliers, shared)
    datasets = [SimulatedHdr(photographs) for photographs in suppliers]
    return Stage(
        train=datasets[0],
        validation=datasets[1],
        collate=collate,
        example=bank_example(settings),
        loss=truth_loss(settings),
        panel=truth_panel,
        **shared,
    )


def inpainting(settings: TrainSettings, suppliers: list[Photographs], shared: dict[str, Any]) -> Stage:
    """Return stage `inpainting` over photographs to train and to validate on."""
    train, validation = (
        HoledPhotographs(photographs, hole_source(settings, side))
        for side, photographs in zip(("train", "validation"), suppliers, strict=True)
    )
    colour, weights = fill_colour(settings.preset), settings.inpainting_weights()

    def example(batch: HoledBatch, device: torch.device) -> Example:
        return to_holed_example(batch, device, colour)

    def loss(Y: Tensor, example: Example, vgg: Vgg | None) -> Loss:
        return inpainting_loss(Y, example.H, example.M, weights, vgg)

    def panel(Y: Tensor, example: Example) -> Tensor:
        return inpainting_panel(*example, Y)

    return Stage(
        train=train, validation=validation, collate=collate_holed, example=example, loss=loss, panel=panel, **shared
    )


def hole_source(settings: TrainSettings, side: str) -> HoleSource:
    """Return the holes of one side, each with a random stream of its own."""
    seed = derive_seed(settings.seed, "holes", 0, 0, side)
    if settings.holes is None:
        return DrawnHoles(seed)
    return PicturedHoles(Path(settings.holes), seed, settings.holes_are)


def photo_sides(settings: TrainSettings, folder: Path) -> tuple[PhotoIndex, PhotoIndex, tuple[str, ...]]:
    """Return what is trained on, what is validated on, and the lines that tell of them."""
    least = settings.patch_size
    purpose = f"{settings.stage} {least} {holes_purpose(settings)}"
    found = survey(folder, least)
    notices = [found.notice(least)]
    if settings.val is None:
        names, held_out, held_out_folder = *split_names(found.names, settings.photo_validation), folder
    else:
        other = survey(Path(settings.val), least)
        notices.append(other.notice(least))
        names, held_out, held_out_folder = list(found.names), list(other.names), other.folder
    train = index_of(folder, names, purpose)
    # The lowest hashes, not the first names: folders of a data set are often sorted by what they show.
    validation = index_of(held_out_folder, fair_sample(held_out, settings.validation_patches), purpose)
    notices.append(f"photographs to train on: {len(train)}, to validate on: {len(validation)}")
    if not len(validation) and settings.photo_validation > 0.0:
        notices.append("There are too few photographs for a validation: training without it, or name some with --val")
    return train, validation, tuple(notices)


def fair_sample(names: list[str], at_most: int) -> list[str]:
    """Return so many of the names, the same ones each time, by rising name."""
    return sorted(sorted(names, key=lambda name: derive_seed(0, name, 0, 0, "sample"))[:at_most])


def holes_purpose(settings: TrainSettings) -> str:
    """Return what of the settings changes the holes; the pictures of masks themselves count by name and size."""
    if settings.stage != "inpainting" or settings.holes is None:
        return UNSATURATED if settings.stage == "hdr-pretraining" else "drawn"
    masks = PicturedHoles(Path(settings.holes), 0, settings.holes_are).files
    names = [file.relative_to(settings.holes).as_posix() for file in masks]
    return f"{settings.holes_are} {index_of(Path(settings.holes), names, 'masks').fingerprint}"
