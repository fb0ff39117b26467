"""From a photograph to radiance, whichever method: ours, the input itself, a classical operator, another's results.

Legend: H, W height and width in pixels; T (H, W, 3) float32 display-encoded RGB in [0, 1]; radiance, truth (H, W, 3)
float32 scene-linear BT.709, in units of the clipping level of the sensor that took T.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from model.color import ALPHA, WHITE_LUMINANCE
from model.errors import EvaluationError
from model.evaluation.expansion import Landis, expand
from model.evaluation.labels import REFERENCE_LABEL
from model.evaluation.testset import Picture, read_radiance, sha256
from model.reconstruct import load_weights, reconstruct
from model.unet import GAMMA, MaskedUNet
from pipeline.errors import UsageError
from pipeline.records import FloatImage

Kind = Literal["input", "expansion", "network", "folder"]
Alignment = Literal["none", "exposed"]
BUILT_IN: tuple[Kind, ...] = ("input", "expansion")
RESULTS = (".exr", ".hdr", ".pfm")  # what a folder of results is searched for, in this order
DARK = 0.1  # T under which quantisation and noise make ratios meaningless


@dataclass(frozen=True, slots=True)
class Method:
    """A way to radiance. `identity` changes with whatever changes its results; `facts` are for people to read."""

    name: str
    kind: Kind
    place: Path | None = None  # the weights, or the folder
    identity: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """Return a name for files: two methods never share one."""
        digest = hashlib.sha256(self.name.encode()).hexdigest()[:6]
        return (re.sub(r"[^A-Za-z0-9._-]+", "-", self.name).strip("-._")[:40] or "method") + f"-{digest}"


def built_in(kind: Kind) -> Method:
    """Return a method that needs no file."""
    if kind == "input":
        return Method("Input", "input", identity=f"T^{GAMMA}", facts={"": f"linearised by T^{GAMMA:g}"})
    numbers = asdict(Landis())
    told = ", ".join(f"{name} {value:g}" for name, value in numbers.items())
    facts = {"": f"expansion operator: {told}"}
    return Method("Landis 2002", "expansion", identity=json.dumps(numbers), facts=facts)


def parse_method(text: str) -> Method:
    """Read `NAME=FILE.safetensors` or `NAME=FOLDER`, or `input` or `expansion`. Raises UsageError with one sentence."""
    if "=" not in text:
        if text in BUILT_IN:
            return built_in(text)
        raise UsageError(
            f"--method {text}: write NAME=WEIGHTS.safetensors, NAME=FOLDER of results, {' or '.join(BUILT_IN)}"
        )
    parts = text.split("=")
    # Names and paths may both hold =: the last one that leaves a path that exists ends the name.
    splits = [("=".join(parts[:i]).strip(), "=".join(parts[i:])) for i in range(len(parts) - 1, 0, -1)]
    splits = [(name, place) for name, place in splits if name and place]
    if not splits:
        raise UsageError(f"--method {text}: write a name, = and a file of weights or a folder")
    for name, place in splits:
        if Path(place).is_dir() or Path(place).is_file():
            return method_of(name, Path(place))
    raise UsageError(f"--method {text}: there is no file or folder {splits[0][1]}")


def method_of(name: str, place: Path) -> Method:
    """Return the network of a file of weights, or another method's folder of results.

    Raises CheckpointError where the file cannot be used.
    """
    if place.is_dir():
        return Method(name, "folder", place, identity="results", facts={"": "results of another method"})
    return Method(name, "network", place, sha256(place), facts_of(place))


def check_names(methods: Sequence[Method]) -> None:
    """Raise UsageError where two methods have one name, or one that of the ground truth beside them."""
    names = [method.name for method in methods]
    if REFERENCE_LABEL in names:
        raise UsageError(f"no method can be called {REFERENCE_LABEL}, which stands beside them: give it another name")
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two methods are called {name}: give each a name of its own")


def facts_of(weights: Path) -> dict[str, str]:
    """Return what a reader must know of a network before comparing it: masking, width, steps, where it comes from.

    Raises CheckpointError where the file cannot be used, or its network gives no radiance yet.
    """
    loaded = load_weights(weights, "cpu")
    architecture, card = loaded.network.architecture, loaded.card
    facts = {"masking": architecture.masking, "width": str(architecture.width), "preset": architecture.preset}
    if card.step is not None:
        facts["trained"] = f"{card.step} steps of stage {card.stage or 'unknown'}"
    elif card.imported_sha256 is not None:
        facts["trained"] = "by the authors"
    return facts


def radiance_of(method: Method, T: FloatImage, picture: Picture, device: torch.device) -> FloatImage:
    """Return a method's radiance for one photograph, as it comes: not aligned yet.

    Raises EvaluationError where a result is missing or cannot be used, PictureError where the network fails.
    """
    if method.kind == "input":
        return np.asarray(T**GAMMA, dtype=np.float32)
    if method.kind == "expansion":
        return expand(T)
    if method.kind == "network":
        return reconstruct(T, _network(method.place or Path(), method.identity, device), device)
    return read_radiance(result_file(method, picture), *T.shape[:2])


def result_file(method: Method, picture: Picture) -> Path:
    """Return the file with another method's result. Raises EvaluationError where there is none of that name."""
    folder = method.place or Path()
    for suffix in RESULTS:
        if (folder / f"{picture.name}{suffix}").is_file():
            return folder / f"{picture.name}{suffix}"
    raise EvaluationError(f"{folder} holds no {picture.name}{RESULTS[0]}: results must bear the names of the test set")


def identity_on(method: Method, picture: Picture) -> str:
    """Return what a method's result for one picture depends on, besides the picture."""
    return sha256(result_file(method, picture)) if method.kind == "folder" else method.identity


def align(radiance: FloatImage, truth: FloatImage, T: FloatImage, alignment: Alignment) -> tuple[FloatImage, float]:
    """Return the radiance multiplied by one factor, and the factor.

    `none`: 1, since the exposure of the test set is known to every method: what is not saturated is T^2 up to the
    camera's curve. `exposed`: the median over well-exposed pixels (every channel of T between 0.1 and 0.96) of the
    ratio of true to given luminance, for methods whose results have a scale of their own. Saturated pixels have no say
    in it: they are what is judged.
    """
    if alignment == "none":
        return radiance, 1.0
    weights = np.asarray(WHITE_LUMINANCE, dtype=np.float32)
    exposed = ((T > DARK) & (T < ALPHA)).all(axis=2)
    given, true = radiance[exposed] @ weights, truth[exposed] @ weights
    positive = given > 0
    if not positive.any():
        raise EvaluationError("nothing in it is well exposed and above 0: its scale cannot be found")
    factor = float(np.median(true[positive] / given[positive]))
    return np.asarray(radiance * np.float32(factor), dtype=np.float32), factor


@lru_cache(maxsize=1)
def _network(weights: Path, identity: str, device: torch.device) -> MaskedUNet:
    """Return the network of a file, kept for the next picture. A file that changed meanwhile is an error."""
    if sha256(weights) != identity:
        raise EvaluationError(f"{weights} changed while it was being evaluated; repeat the command")
    return load_weights(weights, str(device)).network
