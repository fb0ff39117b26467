"""The versions that a bank's numbers depend on."""

from __future__ import annotations

import platform
from importlib.metadata import version

_LIBRARIES = (
    "numpy",
    "numba",
    "opencv-python-headless",
    "opencv-python",
    "OpenImageIO",
    "OpenEXR",
    "zarr",
    "pyarrow",
    "dask",
    "distributed",
)


def versions() -> dict[str, str]:
    """Return the versions of hdrprep, Python and the libraries that patches are made with, by name."""
    found = {"hdrprep": version("hdrprep"), "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except ModuleNotFoundError:  # OpenCV comes as either of two distributions
            continue
    return found
