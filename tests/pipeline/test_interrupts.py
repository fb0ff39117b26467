"""Signals wait while processes are started, and those do not hear of them; none is lost."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import pytest

from pipeline.interrupts import holding


def test_an_interruption_waits_until_all_is_started() -> None:
    reached: list[bool] = []

    def start() -> None:
        with holding(signal.SIGINT):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            reached.append(True)

    with pytest.raises(KeyboardInterrupt):
        start()
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_it_waits_also_where_another_thread_takes_the_signal() -> None:
    done, reached = threading.Event(), list[bool]()
    other = threading.Thread(target=done.wait)  # it was there before, and holds nothing
    other.start()

    def start() -> None:
        with holding(signal.SIGINT):
            signal.pthread_kill(other.ident or 0, signal.SIGINT)
            time.sleep(0.05)
            reached.append(True)

    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        assert reached
    finally:
        done.set()
        other.join()


def test_several_signals_go_to_the_handlers_that_were_there() -> None:
    taken: list[int] = []
    before = {n: signal.signal(n, lambda n, _: taken.append(n)) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        with holding(signal.SIGINT, signal.SIGTERM):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
            time.sleep(0.05)
            assert not taken
        assert set(taken) == {signal.SIGINT, signal.SIGTERM}  # the same one twice may come as one
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_none_of_several_signals_is_lost_where_the_first_raises() -> None:
    taken: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: taken.append(number))

    def start() -> None:
        with holding(signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)

    try:
        with pytest.raises(KeyboardInterrupt):
            start()
        assert taken == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_all_is_restored_where_another_handler_raises_on_the_way_out() -> None:
    def stop(_number: int, _frame: object) -> None:
        raise RuntimeError("stop")

    def start() -> None:
        with holding(signal.SIGINT):
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
            os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(RuntimeError, match="stop"):
            start()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_process_that_is_started_meanwhile_is_deaf_from_its_first_moment() -> None:
    with holding(signal.SIGINT):
        process = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(20,))
        process.start()
    try:
        os.kill(process.pid or 0, signal.SIGINT)  # most likely before its first line of Python
        time.sleep(1.0)
        os.kill(process.pid or 0, signal.SIGINT)
        time.sleep(0.3)
        assert process.is_alive()
    finally:
        process.kill()
        process.join()


def test_outside_the_main_thread_it_only_starts_deaf_processes() -> None:
    failures: list[BaseException] = []

    def hold() -> None:
        try:
            with holding(signal.SIGINT):
                assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()
    assert not failures
