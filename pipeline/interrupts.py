"""Ctrl-C while processes are started: it waits, and the new processes never hear of it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
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
    with ExitStack() as afterwards:  # each of them happens, last first, whatever the ones before raise
        afterwards.callback(_answer, held)
        # The mask is what processes inherit. Threads that were there before do not have it, and may take the signal.
        for number in signals if threading.current_thread() is threading.main_thread() else ():
            handler = signal.getsignal(number)
            if handler is not None:  # else it is none of Python's
                afterwards.callback(signal.signal, number, handler)
                signal.signal(number, lambda number, _: held.append(number))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        afterwards.callback(signal.pthread_sigmask, signal.SIG_SETMASK, before)
        yield


def _answer(held: Sequence[int]) -> None:
    with ExitStack() as each:  # all of them, even where the first raises
        for number in reversed(held):
            each.callback(signal.raise_signal, number)
