"""Files of weights: ours, safetensors with a model card, and the authors' checkpoint, recognised by its first bytes.

Both are read with distrust: no pickle in ours, the restricted reader for theirs (`model.published`).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.card import Card, card_from_metadata
from model.errors import CheckpointError
from model.published import digest, read_published
from model.unet import Architecture, MaskedUNet
from pipeline.bank.files import replace_file

FORMAT = "hdrprep weights 1"  # in the metadata of every file of weights
_FOREIGN = "name a file that model.train wrote"
_TORCH = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04")  # first bytes of torch's files: zip, or an old pickle


def write_weights(file: Path, network: MaskedUNet, card: Card) -> None:
    """Write weights as float32 and their card, in one rename. Raises CheckpointError where that cannot be done."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    metadata = {"format": FORMAT, **card.metadata(), "architecture": network.architecture.model_dump_json()}
    try:
        replace_file(file, lambda beside: save_file(tensors, beside, metadata))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write the weights {file}: {error}") from error


def load_network(file: Path) -> MaskedUNet:
    """Return the network that a file of weights describes, ours or the authors', on the CPU.

    Raises CheckpointError with one sentence.
    """
    return read_published(file)[0] if is_published(file) else _load(file, read_card(file))


def load_with_card(file: Path) -> tuple[MaskedUNet, Card]:
    """Return what `load_network` and `read_card` do; the authors' file is read once."""
    if is_published(file):
        network = read_published(file)[0]
        return network, published_card(file, network)
    card = read_card(file)
    return _load(file, card), card


def _load(file: Path, card: Card) -> MaskedUNet:
    architecture = Architecture.model_validate(card.architecture)
    with torch.device("meta"):  # shapes without memory: a file that asks for a huge network is found out first
        network = MaskedUNet(architecture)
    tensors = read_tensors(file)
    check_shapes(file, tensors, {name: tensor.shape for name, tensor in network.state_dict().items()})
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise CheckpointError(f"{file} holds weights that are not finite numbers; use an earlier checkpoint")
    network.to_empty(device="cpu").load_state_dict(tensors)
    return network


def is_published(file: Path) -> bool:
    """Say whether a file is one of torch's, as the authors' checkpoint is."""
    try:
        with file.open("rb") as opened:
            head = opened.read(16)
    except OSError:
        return False  # what reads it says why
    # A safetensors file begins with the length of a JSON text, eight bytes, and that text.
    return head.startswith(_TORCH) and head[8:9] != b"{"


def read_card(file: Path) -> Card:
    """Return the card of a file of weights; of the authors' checkpoint, what can be said of it.

    Raises CheckpointError where the file is none.
    """
    if is_published(file):
        return published_card(file, read_published(file)[0])
    with _open(file) as opened:
        metadata: Mapping[str, str] = opened.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{file} holds tensors, but not weights of this network; {_FOREIGN}")
    try:
        card = card_from_metadata(metadata)
        Architecture.model_validate(card.architecture)
    except (ValidationError, ValueError, RecursionError) as error:  # the last of brackets without end
        raise CheckpointError(f"{file} is for a network that this version does not know; {_FOREIGN}") from error
    return card


def published_card(file: Path, network: MaskedUNet) -> Card:
    """Return the card of weights that come from the authors' checkpoint."""
    architecture = network.architecture.model_dump()
    return Card(architecture=architecture, imported_sha256=digest(file), versions=f"hdrprep {version('hdrprep')}")


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name. Raises CheckpointError where it is none."""
    with _open(file) as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a mapping


def check_shapes(
    file: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, torch.Size], remedy: str = _FOREIGN
) -> None:
    """Raise CheckpointError unless the tensors are float32 of these names and shapes, no more and no fewer."""
    for name in sorted(tensors.keys() ^ expected.keys()):
        problem = "lacks" if name in expected else "has an unknown tensor"
        raise CheckpointError(f"{file} {problem} {name}; {remedy}")
    for name, shape in expected.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != torch.float32:
            found = f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
            raise CheckpointError(f"{file}: {name} is {found} instead of float32 {tuple(shape)}; {remedy}")


def _open(file: Path) -> safe_open:
    try:
        return safe_open(file, framework="pt")
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CheckpointError(f"{file} is not a readable safetensors file ({reason}); {_FOREIGN}") from error
