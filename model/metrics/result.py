"""One measured number and what it depends on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Literal, Self

Quantity = Literal["mse", "dB", "ssim", "Q", "JOD"]
Record = dict[str, float | str | int | None]

OURS = f"hdrprep {version('hdrprep')}"  # the version of a number whose definition is this package's own


@dataclass(frozen=True, slots=True)
class Result:
    """A number with its conditions: two numbers may be compared where all of them agree.

    `value` is None where the metric is not defined for the pair, and `reason` says why. `ppd` (pixels per visual
    degree) is None where it does not enter. `scale` says what the pixels were multiplied by, `encoding` what became of
    them before they were compared.
    """

    quantity: Quantity
    value: float | None
    version: str
    encoding: str
    ppd: float | None = None
    scale: str = "as given"
    factor: float = 1.0
    reason: str | None = None

    def at(self, scale: str, factor: float) -> Self:
        """Return the same number, of pixels that were multiplied by this factor beforehand."""
        return replace(self, scale=scale, factor=factor)

    def record(self) -> Record:
        """Return the number under the name of its quantity, then its conditions; the reason only where there is one."""
        told: Record = {self.quantity: self.value, "version": self.version, "ppd": self.ppd, "scale": self.scale}
        told |= {"factor": self.factor, "encoding": self.encoding}
        return told | ({} if self.reason is None else {"reason": self.reason})
