"""What every result says beside its figures: machine, load, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def conditions(*libraries: str, **machine: Any) -> dict[str, Any]:
    """Return what was measured on, as JSON values: `libraries` are distributions whose versions matter.

    `machine` is what else matters of it, such as threads or a GPU. Called first, it tells the load of others.
    """
    return {
        "machine": {
            "cpu": cpu(),
            "cores": os.cpu_count(),
            "platform": platform.platform(),
            "load": round(os.getloadavg()[0], 2),  # of the last minute
            **machine,
        },
        "versions": {"python": platform.python_version()} | {library: version(library) for library in libraries},
        "commit": commit(),
    }


def cpu() -> str:
    """Return the processor's name."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.processor())


def commit() -> str:
    """Return the commit of the checkout that is measured, marked where it was changed since."""
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout.strip() or "unknown"
