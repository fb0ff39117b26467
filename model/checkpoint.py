"""Weights and checkpoints on disk: written whole or not at all, read with distrust, no pickle anywhere.

OUT/checkpoints/step-00001000/weights.safetensors     metadata: the model card
                              optimizer.safetensors   Adam's means of each parameter
                              state.json              RunState
OUT/weights.safetensors       those of the latest checkpoint
OUT/best.safetensors          those of the lowest validation loss

`python -m model.checkpoint import FILE --out weights.safetensors` turns the authors' checkpoint into such weights,
`python -m model.checkpoint show FILE` prints the card of either.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from model.card import Card, without_folders
from model.command import Parser, run_command
from model.config import TrainSettings
from model.errors import CheckpointError
from model.order import SamplerState
from model.published import read_published
from model.schedule import Progress
from model.unet import MaskedUNet
from model.weights import check_shapes, load_network, published_card, read_card, read_tensors, write_weights
from pipeline.bank.files import replace_file
from pipeline.errors import UsageError

__all__ = [
    "BEST",
    "OPTIMIZER",
    "STATE",
    "WEIGHTS",
    "RunState",
    "begin_with",
    "list_checkpoints",
    "load_network",
    "load_state",
    "main",
    "read_card",
    "restore",
    "save_checkpoint",
    "save_weights",
    "versions",
]

WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"
BEST = "best.safetensors"
_REMEDY = "delete that folder to resume from the checkpoint before it"
_STEP = re.compile(r"step-(\d+)")


class RunState(BaseModel):
    """All that a run needs, besides its tensors, to go on exactly. Nothing else in training is random."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    step: int  # updates of the weights so far
    sampler: SamplerState
    settings: TrainSettings
    bank_fingerprint: str
    vgg_fingerprint: str | None = None  # None where the loss has no perceptual terms
    best_validation: float | None = None  # the lowest mean loss so far
    progress: Progress = Progress()  # of the learning rate
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Return what the numbers of a training run depend on."""
    return {"hdrprep": version("hdrprep"), "python": platform.python_version(), "torch": str(torch.__version__)}


def save_checkpoint(out: Path, state: RunState, network: MaskedUNet, optimizer: Optimizer, keep: int) -> Path:
    """Write a checkpoint beside its place, bring it to the disk, rename it; then drop all but the last `keep`."""
    directory = out / "checkpoints"
    place = directory / f"step-{state.step:08d}"
    beside = directory / f".{place.name}"
    try:
        _sweep(out)
        beside.mkdir(parents=True)
        save_weights(beside / WEIGHTS, network, state)
        tensors = _optimizer_tensors(network, optimizer)
        replace_file(beside / OPTIMIZER, lambda file: save_file(tensors, file))
        replace_file(beside / STATE, lambda file: _write_text(file, state.model_dump_json(indent=2)))
        beside.rename(place)
        _sync(directory)
        replace_file(out / WEIGHTS, lambda file: _copy(place / WEIGHTS, file))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write the checkpoint {place}: {error}") from error
    for old in list_checkpoints(out)[:-keep]:
        old.rename(old.with_name(f".{old.name}"))  # half a checkpoint must not look like one
    _sweep(out)
    return place


def save_weights(file: Path, network: MaskedUNet, state: RunState) -> None:
    """Write weights as float32 with what is needed to use them, and to know where they come from."""
    card = Card(
        architecture=network.architecture.model_dump(),
        stage=state.settings.stage,
        step=state.step,
        best_validation=state.best_validation,
        settings=without_folders(state.settings.model_dump(mode="json")),
        bank_fingerprint=state.bank_fingerprint,
        vgg_fingerprint=state.vgg_fingerprint,
        versions=" ".join(f"{name} {number}" for name, number in state.versions.items()),
    )
    write_weights(file, network, card)


def list_checkpoints(out: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    found = [(int(m[1]), p) for p in (out / "checkpoints").glob("step-*") if (m := _STEP.fullmatch(p.name))]
    return [path for _, path in sorted(found)]


def load_state(checkpoint: Path) -> RunState:
    """Read state.json of a checkpoint."""
    file = checkpoint / STATE
    try:
        return RunState.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        reason = "another version wrote it" if isinstance(error, ValidationError) else error.strerror
        raise CheckpointError(f"{file} cannot be used ({reason} or it is damaged); {_REMEDY}") from error


def restore(checkpoint: Path, network: MaskedUNet, optimizer: Optimizer) -> None:
    """Fill network and optimiser with what a checkpoint holds."""
    stored = load_network(checkpoint / WEIGHTS)
    if stored.architecture != network.architecture:
        raise CheckpointError(f"{checkpoint} holds another network than {STATE} in it says; {_REMEDY}")
    network.load_state_dict(stored.state_dict())
    tensors = read_tensors(checkpoint / OPTIMIZER)
    parameters = dict(network.named_parameters())
    expected = {f"{name}.{key}": shape for name, p in parameters.items() for key, shape in _adam_shapes(p).items()}
    check_shapes(checkpoint / OPTIMIZER, tensors, expected, remedy=_REMEDY)
    groups = optimizer.state_dict()["param_groups"]  # of the settings, which may name another rate now
    state = {i: _adam_state(name, p, tensors) for i, (name, p) in enumerate(parameters.items())}
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def begin_with(network: MaskedUNet, file: Path) -> None:
    """Fill a network with the weights of another run; optimiser and step are its own. They must fit as they are."""
    stored = load_network(file)
    ours, theirs = network.architecture.model_dump(), stored.architecture.model_dump()
    for name, value in ours.items():
        if theirs[name] != value:
            raise CheckpointError(
                f"{file} holds a network of {name} {theirs[name]}, and train.{name} is {value}: "
                "set it as the weights have it, or name other weights"
            )
    network.load_state_dict(stored.state_dict())


def _adam_shapes(parameter: nn.Parameter) -> dict[str, torch.Size]:
    return {"step": torch.Size(()), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}


def _optimizer_tensors(network: MaskedUNet, optimizer: Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": optimizer.state[parameter][key].detach().cpu().contiguous()
        for name, parameter in network.named_parameters()
        for key in _adam_shapes(parameter)
    }


def _adam_state(name: str, parameter: nn.Parameter, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    def like_parameter(tensor: Tensor) -> Tensor:  # in its memory layout too, or each step is slower
        return torch.empty_like(parameter, requires_grad=False).copy_(tensor)

    return {
        "step": tensors[f"{name}.step"].clone(),
        "exp_avg": like_parameter(tensors[f"{name}.exp_avg"]),
        "exp_avg_sq": like_parameter(tensors[f"{name}.exp_avg_sq"]),
    }


def _sweep(out: Path) -> None:
    """Delete what was dropped, and what a killed process left half written."""
    for folder in (out / "checkpoints").glob(".step-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _write_text(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run_command(lambda: carry_out(parse(arguments)))


def carry_out(options: argparse.Namespace) -> int:
    """Do what the command line asks for, and return the exit status."""
    command: Callable[[argparse.Namespace], int] = options.command
    return command(options)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(prog="python -m model.checkpoint", description="Files of weights.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="import|show")
    command = commands.add_parser("import", help="turn the authors' checkpoint into weights of preset `official`")
    command.add_argument("file", type=Path, metavar="FILE", help="the published torch checkpoint; no code in it is run")
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="takes the weights, as safetensors")
    command.set_defaults(command=import_published)
    command = commands.add_parser("show", help="print the model card of weights")
    command.add_argument("file", type=Path, metavar="FILE", help="weights that model.train wrote, or the authors'")
    command.add_argument("--json", action="store_true", help="as one JSON object")
    command.set_defaults(command=show)
    return parser.parse_args(arguments)


def import_published(options: argparse.Namespace) -> int:
    """Convert the authors' checkpoint, and say what was found in it."""
    if options.out.resolve() == options.file.resolve():
        raise UsageError(f"--out {options.out} would replace the checkpoint itself: name another file")
    network, difference = read_published(options.file)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_weights(options.out, network, published_card(options.file, network))
    parameters = sum(p.numel() for p in network.parameters())
    sys.stdout.write(f"weights: {options.out}\nparameters: {parameters}\nmask tensors differ by: {difference:.3g}\n")
    return 0


def show(options: argparse.Namespace) -> int:
    """Print the model card of a file of weights."""
    card = read_card(options.file)
    text = card.model_dump_json(indent=2, exclude_none=True) if options.json else "\n".join(card.lines())
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
