"""The right to write to a bank, held by one process at a time and let go of however that process ends.

In a directory it is a lock of the operating system on `_work/lock`. On an object store it is the object of that name:
it is made only if there is none, written anew at intervals by its holder, and taken over by another process once it was
not written for long, by the clock of the store. A holder on the same machine that has ended is succeeded at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
import uuid
from pathlib import Path
from typing import IO, Any, Protocol

from pipeline.bank.storage import LocalStorage, ObjectStorage, Storage, writing
from pipeline.errors import BankError, BankLocked

LOCK = "_work/lock"
RENEWAL = 15.0  # seconds between two signs of life of a holder
LAPSE = 90.0  # seconds without one after which its lock is void
SETTLING = 2.0  # seconds after which, of several that take over, the last one stands


class Lock(Protocol):
    """The right to write, as long as it is held."""

    def check(self) -> None:
        """Raise BankError where the right was lost."""

    def release(self) -> None:
        """Let another process write."""


def acquire(storage: Storage) -> Lock:
    """Take the right to write to a bank. Raises BankLocked where another process has it."""
    with writing(storage):
        if isinstance(storage, LocalStorage):
            return _FileLock(storage.path)
        if isinstance(storage, ObjectStorage):
            return _Lease(storage)
    raise TypeError(type(storage))


def refuse_writers(storage: Storage) -> None:
    """Raise BankLocked where another process is writing to a bank; nothing is written to find out."""
    holder = _file_holder(storage.path) if isinstance(storage, LocalStorage) else _lease_holder(storage)
    if holder is not None:
        raise BankLocked(f"another process ({holder}) is writing to {storage}; wait for it, then repeat the command")


def _file_holder(bank: Path) -> str | None:
    try:
        with (bank / LOCK).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return file.read().strip() or "unknown"
    except FileNotFoundError:
        pass
    return None


def _lease_holder(storage: Storage) -> str | None:
    if not isinstance(storage, ObjectStorage):
        raise TypeError(type(storage))
    try:
        holder, age = json.loads(storage.read(LOCK)), time.time() - storage.modified(LOCK)
    except (FileNotFoundError, ValueError):
        return None
    # The clock of the store may be another one than ours: this errs on the side of a lock that holds.
    return None if _has_ended(holder) or age > 2 * LAPSE else _describe(holder)


class _FileLock:
    def __init__(self, bank: Path) -> None:
        (bank / LOCK).parent.mkdir(parents=True, exist_ok=True)
        self._path = bank / LOCK
        self._file: IO[str] = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not self._is_in_place():
                raise OSError  # the bank was deleted between the two steps
        except OSError:
            self._file.seek(0)
            holder = self._file.read().strip() or "unknown"
            self._file.close()
            raise BankLocked(
                f"another process ({holder}) is writing to {bank}; wait for it or use another --bank"
            ) from None
        self._file.truncate(0)
        self._file.write(f"pid {os.getpid()} on {os.uname().nodename}")
        self._file.flush()

    def check(self) -> None:
        """Raise BankError where the bank was deleted: another process may hold what stands there now."""
        if not self._is_in_place():
            bank = self._path.parents[1]
            raise BankError(f"the bank {bank} was deleted or moved while this command worked on it; repeat the command")

    def release(self) -> None:
        """Let another process write."""
        self._file.close()

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except FileNotFoundError:
            return False


class _Lease:
    def __init__(self, storage: ObjectStorage) -> None:
        self._storage, self._token = storage, uuid.uuid4().hex
        self._acquire()
        self._renewed, self._lost = time.monotonic(), False
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._stay_alive, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise BankError where another process took over, or the store did not answer for long."""
        if self._lost or time.monotonic() - self._renewed > LAPSE:
            raise BankError(f"the lock on {self._storage} was lost to another process; repeat the command")

    def release(self) -> None:
        """Let another process write."""
        self._released.set()
        self._thread.join(timeout=10)  # else its last sign of life could come after the end
        with contextlib.suppress(OSError):  # it lapses by itself
            if self._is_ours():
                self._storage.delete(LOCK)

    def _acquire(self) -> None:
        if self._storage.create(LOCK, self._sign()):
            return
        try:
            holder = json.loads(self._storage.read(LOCK))
            silent = self._store_time() - self._storage.modified(LOCK)
        except (FileNotFoundError, ValueError):
            holder, silent = {}, LAPSE  # let go of just now, or written by something else
        if silent < LAPSE and not _has_ended(holder):
            raise BankLocked(
                f"another process ({_describe(holder)}) is writing to {self._storage}; wait for it or use another "
                f"--bank (if it was killed, its lock lapses in {LAPSE - silent:.0f} s)"
            )
        self._storage.delete(LOCK)
        self._storage.create(LOCK, self._sign())
        time.sleep(SETTLING)
        if not self._is_ours():
            raise BankLocked(f"another process has just begun to write to {self._storage}; wait for it")

    def _sign(self) -> bytes:
        return json.dumps({"token": self._token, "pid": os.getpid(), "host": os.uname().nodename}).encode()

    def _is_ours(self) -> bool:
        try:
            return bool(json.loads(self._storage.read(LOCK)).get("token") == self._token)
        except (FileNotFoundError, ValueError):
            return False

    def _store_time(self) -> float:
        """Return the present time of the store: the clocks of machines differ."""
        probe = f"_work/clock.{self._token}"
        self._storage.write(probe, b"")
        try:
            return self._storage.modified(probe)
        finally:
            self._storage.delete(probe)

    def _stay_alive(self) -> None:
        while not self._released.wait(RENEWAL):
            with contextlib.suppress(OSError):  # tried again; `check` tells when it is too late
                if not self._is_ours():
                    self._lost = True
                    return
                self._storage.write(LOCK, self._sign())
                self._renewed = time.monotonic()


def _has_ended(holder: dict[str, Any]) -> bool:
    """Say whether a holder ran on this machine and runs no more."""
    if holder.get("host") != os.uname().nodename or not isinstance(holder.get("pid"), int):
        return False
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _describe(holder: dict[str, Any]) -> str:
    return f"pid {holder['pid']} on {holder['host']}" if {"pid", "host"} <= set(holder) else "unknown"
