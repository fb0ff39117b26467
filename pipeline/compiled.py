"""Compilation of inner loops by numba: machine code at the first call, kept on disk for later processes.

Why it is here: numpy and OpenCV pass over a patch once for each operation, and have no fast way at all for the normal
numbers of the sensor's noise. A compiled loop does the operations of a row while it is in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])

# `fastmath`: sums may be reordered, so that they are vectorised; what comes in is finite. `nogil`: other threads, such
# as a worker's heartbeat, go on. Numbers are those of one kind of processor, as everywhere in numpy.
OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": True, "error_model": "numpy"}


def compiled(function: F) -> F:
    """Return the function compiled for the arguments that it is first called with.

    Arrays that are to be vectorised come as contiguous rows: of a strided array the compiler knows too little.
    """
    try:
        return cast(F, njit(cache=True, **OPTIONS)(function))
    except RuntimeError:  # neither the package's folder nor the user's cache can be written to
        return cast(F, njit(**OPTIONS)(function))
