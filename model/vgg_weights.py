"""Where the weights of VGG come from, what file it is, and how its features are scaled.

The published weights of the loss terms belong to torchvision's VGG: with other features, say of twice the size, L_v
would be twice and L_s four times as large beside L_r. So the features of any other file are scaled to a mean of 1 at
each pooling on one reference picture, or as the user says, and the scale is told. A mean of 1 makes all other files
alike; it does not make them torchvision's, whose own means on that picture are told when its file is in use.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.command import say
from model.errors import VggError
from model.vgg import Depth, Vgg
from pipeline.bank.files import replace_file

WITHOUT = "--set train.perceptual_weight=0"  # trains without VGG
REMEDY = f"name a file of weights with --vgg, or train without the perceptual terms: {WITHOUT}"
REFERENCE_SIDE = 128  # pixels
_TIMEOUT = 60.0  # seconds without a byte
_BLOCK = 2**20


@dataclass(frozen=True, slots=True)
class Published:
    """A file of torchvision. Its name ends in the first eight digits of its SHA-256."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self.url.rpartition("/")[2]


PUBLISHED: dict[Depth, Published] = {
    16: Published(
        "https://download.pytorch.org/models/vgg16-397923af.pth",
        "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    ),
    19: Published(
        "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
        "dcbb9e9dad569fff7a846263a77324fc34978fea2bfb039c012d710e1776ae44",
    ),
}


class Means(NamedTuple):
    """Mean features after each pooling."""

    pool1: float
    pool2: float
    pool3: float

    def __str__(self) -> str:
        return " / ".join(f"{value:.4g}" for value in self)


def load_vgg(
    depth: Depth, file: Path | None, scale: tuple[float, float, float] | None, published: Published | None = None
) -> Vgg:
    """Return VGG on the CPU, and say on stderr which file it is from and how its features are scaled.

    Without a file torchvision's is downloaded, once. `scale` None: 1 for torchvision's file, 1 / mean for any other.
    `published` is another place to download from. Raises VggError with one sentence.
    """
    published = published or PUBLISHED[depth]
    file = download(published) if file is None else file
    torchvisions = _sha256(file) == published.sha256
    vgg = Vgg(depth)
    vgg.load_state_dict(_check(file, _read(file), vgg))
    means = mean_features(vgg)
    if scale is None and not torchvisions:
        _refuse_dead(file, means)
        scale = Means(*(1.0 / mean for mean in means))
    if scale is not None:
        vgg.scale.copy_(torch.tensor(scale))
    origin = "torchvision's" if torchvisions else "not torchvision's file"
    say(
        f"VGG-{depth} from {file} ({origin}): mean features after pool1 / 2 / 3 on the reference picture {means}, "
        f"scaled by {Means(*vgg.scale.tolist())}"
    )
    return vgg


def fingerprint(vgg: Vgg) -> str:
    """Return a hash (hex) of depth, weights and scale: of all that the perceptual terms depend on."""
    digest = hashlib.sha256(str(vgg.depth).encode())
    for tensor in (*vgg.state_dict().values(), vgg.scale):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def mean_features(vgg: Vgg) -> Means:
    """Return the means of the unscaled features on the reference picture."""
    unscaled = vgg.scale.tolist()
    features = vgg(reference_picture())
    return Means(*(float(phi.mean()) / factor for phi, factor in zip(features, unscaled, strict=True)))


def reference_picture() -> Tensor:
    """Return one fixed picture (1, 3, 128, 128) in [0, 1] with the statistics of a photograph, of no photograph.

    Gaussian noise whose amplitude falls with frequency^1.5, mean 0.45, deviation 0.22, its channels correlated by 0.9.
    The normalised VGG-19 of Gatys et al., whose mean over ImageNet is 1 by construction, has means of 1.7, 2.6 and 2.0
    on it, and of 1.2 to 1.9, 1.5 to 2.4 and 1.3 to 1.9 on five photographs of 256x256 pixels.
    """
    random = np.random.Generator(np.random.PCG64(0))
    side = REFERENCE_SIDE
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = np.inf  # no mean
    noise = np.fft.irfft2(np.fft.rfft2(random.standard_normal((4, side, side))) / frequency**1.5, s=(side, side))
    noise /= noise.std(axis=(1, 2), keepdims=True)
    channels = 0.9**0.5 * noise[3] + 0.1**0.5 * noise[:3]  # (3, 128, 128): grey, and a little colour
    return torch.from_numpy(np.clip(0.45 + 0.22 * channels, 0.0, 1.0).astype(np.float32))[None]


def cache_folder() -> Path:
    """Return where downloads are kept: hdrprep below XDG_CACHE_HOME, else below ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hdrprep"


def download(published: Published) -> Path:
    """Return torchvision's file in the cache, after downloading it where it is not there yet; its hash is checked."""
    file = cache_folder() / published.name
    if file.exists():
        if _sha256(file) != published.sha256:
            raise VggError(f"{file} is not the file that torchvision published: delete it to download it again")
        return file
    say(f"Downloading {published.url} to {file}")
    try:
        replace_file(file, lambda beside: _fetch(published, beside))
    except (OSError, HTTPException, ValueError) as error:  # URLError and TimeoutError are OSErrors
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise VggError(f"the weights of VGG cannot be downloaded from {published.url} ({reason}); {REMEDY}") from error
    return file


def _fetch(published: Published, target: Path) -> None:
    digest = hashlib.sha256()
    with (
        urllib.request.urlopen(published.url, timeout=_TIMEOUT) as response,  # noqa: S310 - a constant, or a test's
        target.open("wb") as opened,
    ):
        while block := response.read(_BLOCK):
            digest.update(block)
            opened.write(block)
    if digest.hexdigest() != published.sha256:
        raise VggError(f"what came from {published.url} is not the file that torchvision published; {REMEDY}")


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise VggError(f"cannot read {file} ({error.strerror or error}); {REMEDY}") from error


def _read(file: Path) -> dict[str, object]:
    """Read safetensors, or a torch pickle of tensors alone; what it is shows in its content, not in its name."""
    try:
        with file.open("rb") as opened:
            head = opened.read(9)
        if head[8:] == b"{":  # after eight bytes of length, safetensors have JSON
            return dict(load_file(file))
        content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise VggError(f"{file} holds code or is no file of weights, and was not run; {REMEDY}") from error
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise VggError(f"{file} is damaged, or neither safetensors nor a file of torch; {REMEDY}") from error
    if not isinstance(content, Mapping):
        raise VggError(f"{file} holds no tensors by name; {REMEDY}")
    return {str(name): value for name, value in content.items()}


def _check(file: Path, found: Mapping[str, object], vgg: Vgg) -> dict[str, Tensor]:
    """Return the tensors that VGG needs; those of its later layers may be there too."""
    tensors: dict[str, Tensor] = {}
    for name, expected in vgg.state_dict().items():
        tensor = found.get(name)
        wanted = f"VGG-{vgg.depth} needs {tuple(expected.shape)}"
        if not isinstance(tensor, Tensor):
            raise VggError(f"{file} lacks {name}, of which {wanted}; {REMEDY}")
        if tensor.shape != expected.shape or not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise VggError(f"{file}: {name} is {kind} {tuple(tensor.shape)}, and {wanted}; {REMEDY}")
        tensors[name] = tensor.float()
        if not bool(tensors[name].isfinite().all()):
            raise VggError(f"{file}: {name} holds numbers that are not finite; {REMEDY}")
    for name in found.keys() - tensors.keys():
        if not _superfluous(name, len(vgg.features)):
            raise VggError(f"{file} has {name}, which is not of VGG-{vgg.depth}; {REMEDY}")
    return tensors


def _superfluous(name: str, layers: int) -> bool:
    first, _, rest = name.partition(".")
    number = rest.partition(".")[0]
    return first == "classifier" or (first == "features" and number.isdecimal() and int(number) >= layers)


def _refuse_dead(file: Path, means: Means) -> None:
    if not all(0.0 < mean < float("inf") for mean in means):
        raise VggError(f"{file}: its features are {means} on average, and cannot be scaled; {REMEDY}")
