"""Every error that a user can meet, as one tree. Each carries one sentence that says what to do.

HdrprepError                status 1
    UsageError              status 2: the command line asks for something that cannot be
        ConfigError         a setting is unknown, mistyped or out of range
        BankMismatch        a setting differs from the one the bank was made with
    BankError               status 1: the bank itself cannot be used
        BankMissing         status 2: there is no bank at this place
        BankVersionError    the bank has another format version
        BankLocked          another process is writing to the bank
        BankDamaged         stored bytes are missing or wrong
    OutputError             status 1: a folder of exported files cannot be written
    ClusterError            the Dask scheduler went away
    SourceError             a source cannot be used: recorded as its reason, the run goes on
"""

from __future__ import annotations


class HdrprepError(Exception):
    """Base of all errors of this project; `exit_status` is what the command line ends with."""

    exit_status = 1


class UsageError(HdrprepError, ValueError):
    """The command line asks for something that cannot be."""

    exit_status = 2


class ConfigError(UsageError):
    """A setting is unknown, of the wrong type or out of its range."""


class BankMismatch(UsageError):
    """A setting differs from the one that the bank was made with."""


class BankError(HdrprepError):
    """The bank cannot be used."""


class BankMissing(BankError, FileNotFoundError):
    """There is no bank at this place."""

    exit_status = 2


class BankVersionError(BankError):
    """The bank's format version is not the one that this version reads."""


class BankLocked(BankError):
    """Another process is writing to the bank."""


class BankDamaged(BankError):
    """Stored bytes are missing or do not match their checksum."""


class OutputError(HdrprepError):
    """The folder that patches are exported to cannot be written, or another process writes to it."""


class ClusterError(HdrprepError):
    """The Dask scheduler went away while it was needed, or local workers cannot be started."""


class SourceError(HdrprepError, ValueError):
    """A source cannot be used; the message is the reason that the sources table records."""


def describe(error: BaseException) -> str:
    """Return what went wrong with a source, as the sources table records it."""
    if isinstance(error, HdrprepError):
        return str(error)
    detail = str(error).splitlines()[0][:160] if str(error) else ""
    return f"it could not be processed ({type(error).__name__}: {detail})"
