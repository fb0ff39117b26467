"""Ctrl-C while processes are started: it waits, and the new processes never hear of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker


@contextmanager
def holding(*signals: signal.Signals) -> Iterator[None]:
    """Let signals wait until the body is done; processes that it starts are deaf to them from their first moment.

    A terminal sends Ctrl-C to every process: the first one answers it, and ends the others. What arrives meanwhile
    takes effect afterwards, on the way out: keep what was started where it is found then. Outside the main thread
    nothing waits, for signals are the main thread's.
    """
    resource_tracker.ensure_running()  # multiprocessing would start it when it is needed, and let the signals through
    held: list[int] = []
    main = threading.current_thread() is threading.main_thread()
    # The mask is what processes inherit. Threads that were there before do not have it, and may take the signal.
    handlers = {number: signal.signal(number, lambda number, _: held.append(number)) for number in signals if main}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for arrived in dict.fromkeys(held):
            signal.raise_signal(arrived)
