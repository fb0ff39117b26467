"""The authors' checkpoint: read with distrust, checked tensor by tensor, turned into the network of preset `official`.

It is a torch pickle, and a pickle may run any program when it is opened. torch's restricted reader is used, which makes
tensors and plain containers and nothing else; what asks for more is refused unopened.

Its `model` holds 29 tensors, whose names may all begin with `module.`:

    enc_1 ... enc_7, dec_7 ... dec_1    .conv.input_conv.weight         encoder.0 ... 6, decoder.0 ... 5, head
    the same fourteen                   .conv.mask_update_conv.weight   magnitudes of the former: checked, then dropped
    dec_1                               .conv.input_conv.bias           head.bias
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.errors import CheckpointError
from model.unet import KERNELS, Architecture, MaskedUNet

PREFIX = "module."
# Largest difference between a mask tensor and the magnitude of its weight. The released code renews mask tensors when
# the network is used, so those of a checkpoint written right after an update are a step behind: about Adam's 2e-4.
STEP_BEHIND = 1e-3
_REMEDY = "name the checkpoint that the authors published"


def read_published(file: Path) -> tuple[MaskedUNet, float]:
    """Return the network, and the largest difference between a mask tensor and the magnitude of its weight.

    Raises CheckpointError with one sentence for whatever is not that checkpoint.
    """
    tensors = check_tensors(file, read_pickle(file))
    width = tensors[source_of("encoder.0.conv.weight")].shape[0]
    with torch.device("meta"):  # shapes without memory
        network = MaskedUNet(Architecture(preset="official", width=width))
    expected = {name: source_of(name) for name in network.state_dict()}
    difference = max(check_mask(file, tensors, expected[name]) for name in expected if name.endswith("weight"))
    network.to_empty(device="cpu").load_state_dict({ours: tensors[theirs] for ours, theirs in expected.items()})
    return network, difference


def source_of(name: str) -> str:
    """Return the authors' name of a tensor of ours."""
    part, *_, kind = name.split(".")
    if part == "head":
        return f"dec_1.conv.input_conv.{kind}"
    number = int(name.split(".")[1])
    layer = f"enc_{number + 1}" if part == "encoder" else f"dec_{len(KERNELS) - number}"
    return f"{layer}.conv.input_conv.{kind}"


def digest(file: Path) -> str:
    """Return the SHA-256 of a file, which says beside converted weights what they were made from."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def read_pickle(file: Path) -> object:
    """Return what the file holds, made of tensors and plain containers only."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror or error}); {_REMEDY}") from error
    except pickle.UnpicklingError as error:
        # The reader has no type of error for it. What it did not allow was not run.
        foreign = any(
            word in str(error) for word in ("GLOBAL", "Unsupported class", "unrecognized function", "Can only")
        )
        problem = "holds code or objects beside tensors, none of which was run" if foreign else "is damaged"
        raise CheckpointError(f"{file} {problem}; {_REMEDY}") from error
    except Exception as error:  # whatever a damaged pickle makes the reader trip over
        raise CheckpointError(f"{file} is no checkpoint that torch can read, or it was cut off; {_REMEDY}") from error


def check_tensors(file: Path, content: object) -> dict[str, Tensor]:
    """Return the tensors by the authors' names without `module.`, or say what is not as it must be."""
    model = content.get("model") if isinstance(content, Mapping) else None
    if not isinstance(model, Mapping) or not all(isinstance(name, str) for name in model):
        raise CheckpointError(f"{file} holds no weights under `model`; {_REMEDY}")
    names = [name.removeprefix(PREFIX) for name in model]
    tensors: dict[str, Any] = dict(zip(names, model.values(), strict=True))
    shapes = expected_shapes(width_of(tensors))
    for name in sorted(tensors.keys() ^ shapes.keys()):
        problem = "lacks" if name in shapes else "has an unknown tensor"
        raise CheckpointError(f"{file} is for another network: it {problem} {name}; {_REMEDY}")
    if len(names) != len(tensors):
        raise CheckpointError(f"{file} names a tensor twice, with and without {PREFIX}; {_REMEDY}")
    for name, shape in shapes.items():
        if problem := wrong(tensors[name], shape):
            raise CheckpointError(f"{file}: {name} {problem}; {_REMEDY}")
    return tensors


def width_of(tensors: Mapping[str, Any]) -> int:
    """Return the channels of the first layer, 64 in the published checkpoint; 64 too where that cannot be told."""
    first = tensors.get(source_of("encoder.0.conv.weight"))
    if isinstance(first, Tensor) and first.ndim == 4 and 1 <= first.shape[0] <= 1024:
        return first.shape[0]
    return 64


def expected_shapes(width: int) -> dict[str, torch.Size]:
    """Return the 29 names of the authors with the shapes that belong to them."""
    with torch.device("meta"):
        ours = MaskedUNet(Architecture(preset="official", width=width)).state_dict()
    shapes = {source_of(name): tensor.shape for name, tensor in ours.items()}
    return shapes | {mask_of(name): shape for name, shape in shapes.items() if name.endswith("weight")}


def mask_of(name: str) -> str:
    """Return the authors' name of the mask tensor that belongs to a weight."""
    return name.replace("input_conv", "mask_update_conv")


def wrong(tensor: object, shape: torch.Size) -> str:
    """Return what is wrong with a tensor, nothing if it is as it must be."""
    if not isinstance(tensor, Tensor):
        return "is no tensor"
    if tensor.shape != shape or tensor.dtype != torch.float32 or tensor.layout != torch.strided:
        found = f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
        found = found if tensor.layout == torch.strided else f"sparse {found}"
        return f"is {found} instead of float32 {tuple(shape)}"
    return "" if bool(tensor.isfinite().all()) else "holds numbers that are not finite"


def check_mask(file: Path, tensors: Mapping[str, Tensor], name: str) -> float:
    """Return the largest difference between a mask tensor and the magnitude of its weight, which is to be none."""
    difference = float((tensors[name].abs() - tensors[mask_of(name)]).abs().max())
    if difference > STEP_BEHIND:
        raise CheckpointError(
            f"{file}: {mask_of(name)} is not the magnitude of {name} (they differ by {difference:.3g}); {_REMEDY}"
        )
    return difference
