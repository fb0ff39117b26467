"""The model card that a file of weights carries: what they are, what they learned from, how well they do.

It lies in the metadata of the safetensors file, text by name. Files of earlier versions lack some of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel, ConfigDict

PATHS = ("init", "photos", "val", "holes", "vgg")  # settings that name files: a card keeps their last part only


class Card(BaseModel):
    """What a file of weights says of itself; None where it does not."""

    model_config = ConfigDict(frozen=True)

    architecture: dict[str, Any]
    stage: str | None = None  # inpainting, hdr-pretraining, hdr; None for the authors' weights
    step: int | None = None  # updates of the weights
    best_validation: float | None = None  # the run's lowest mean loss over its validation patches so far
    settings: dict[str, Any] | None = None  # of the run, section `train`
    bank_fingerprint: str | None = None  # of the bank, or of the photographs
    vgg_fingerprint: str | None = None  # of the perceptual terms
    imported_sha256: str | None = None  # of the authors' checkpoint that the weights come from
    versions: str | None = None  # of the libraries that made the file

    def metadata(self) -> dict[str, str]:
        """Return the card as text by name."""
        values = self.model_dump(exclude_none=True)
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}

    def lines(self) -> Iterator[str]:
        """Yield what a person wants to know, line by line; settings at the end."""
        values = self.model_dump(exclude={"settings"}, exclude_none=True)
        flat = {**values.pop("architecture"), **values}
        yield from (f"{name:18}{value}" for name, value in flat.items())
        yield from (f"train.{name}={json.dumps(value)}" for name, value in sorted((self.settings or {}).items()))


def card_from_metadata(metadata: Mapping[str, str]) -> Card:
    """Read a card. Raises ValueError where what is there is no card's."""
    structured = {"architecture", "settings", "step", "best_validation"}
    known = {name: text for name, text in metadata.items() if name in Card.model_fields}
    return Card.model_validate({name: json.loads(text) if name in structured else text for name, text in known.items()})


def without_folders(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that tell nothing of where the files of a machine lie."""
    return {
        name: PurePath(value).name if name in PATHS and isinstance(value, str) else value
        for name, value in settings.items()
    }
