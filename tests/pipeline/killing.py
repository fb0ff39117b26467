"""SIGKILL at a chosen step: the calls by which a process changes the files of a bank, counted, one of them fatal.

The product knows nothing of this. A process calls `arm`, or is told to by its environment (`sitecustomize_folder`).
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

# What changes a folder's entries; `io.open` and `os.open` count where they may make files. What reaches the disk when
# (fsync) is no matter to a process that is killed: what it wrote is with the system.
CALLS = ("replace", "rename", "link", "unlink", "remove", "rmdir", "mkdir", "open")

Reach = Callable[[str], None]


def arm(bank: Path, reach: Reach) -> None:
    """Call `reach` with the name of each step, before it is done, that this process does on files of a bank."""
    for name in CALLS:
        setattr(os, name, _stepping(getattr(os, name), name, str(bank), reach))
    opening = _stepping(io.open, "fill", str(bank), reach)
    io.open = opening


def site(step: str) -> str:
    """Return where in the protocol a step is: its call and its place, without the random and the numbered parts."""
    step = re.sub(r"[0-9a-f]{16,}", "ID", step)
    step = re.sub(r"(/beside/|/ID/|/ID\.over/)\..*", r"\1TEMPORARY", step)
    return re.sub(r"/c/[0-9/]+", "/c/N", step)


def kill_at(number: int, counter: Path) -> Reach:
    """Return a `reach` that writes each step into a file which all processes share, and kills at one of them.

    The steps are counted over all processes; the file holds one a line. `number` counts from 1; 0 kills none.
    """

    def reach(step: str) -> None:
        with _plain_open(counter, "a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0)
            count = len(file.readlines()) + 1
            file.write(f"{step}\n")
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return reach


def kill_once_at(pattern: str, flag: Path) -> Reach:
    """Return a `reach` that kills the first process whose step matches; `flag` then says so."""

    def reach(step: str) -> None:
        if re.search(pattern, step):
            try:
                _plain_open(flag, "x").close()
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

    return reach


def sitecustomize_folder(folder: Path) -> Path:
    """Make a folder for PYTHONPATH: each Python process that has it arms itself as its environment says."""
    folder.mkdir(parents=True)
    root = Path(__file__).parents[2]
    (folder / "sitecustomize.py").write_text(
        f"import sys\nsys.path.insert(0, {str(root)!r})\nfrom tests.pipeline.killing import arm_by_environment\n"
        "arm_by_environment()\n"
    )
    return folder


def workers_of(process: int) -> list[int]:
    """Return the worker processes that a driver, or a `dask worker`, has started; any of its threads may have."""
    lists = Path(f"/proc/{process}/task").glob("*/children")
    children = list[str]()
    for listed in lists:
        with suppress(OSError):  # a thread that has ended meanwhile
            children += listed.read_text().split()
    return [int(child) for child in children if b"spawn_main" in _command_line(child)]


def _command_line(process: str) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has ended since
        return b""


def arm_by_environment() -> None:
    """Kill this process at the first step that KILL_SITE matches; a step is told as `worker ...` or `driver ...`."""
    if "KILL_BANK" not in os.environ:
        return
    reach = kill_once_at(os.environ["KILL_SITE"], Path(os.environ["KILL_FLAG"]))
    arm(Path(os.environ["KILL_BANK"]), lambda step: reach(f"{_role()} {step}"))


def _role() -> str:
    command = Path("/proc/self/cmdline").read_bytes()
    return "worker" if b"multiprocessing" in command or b"dask_worker" in command else "driver"


def _stepping(call: Callable[..., Any], name: str, bank: str, reach: Reach) -> Callable[..., Any]:
    def step(*arguments: Any, **named: Any) -> Any:
        place = _place(arguments[1] if name in {"replace", "rename", "link"} else arguments[0], named.get("dir_fd"))
        if place.startswith(bank) and _changes(name, arguments, named):
            reach(f"{name} {place[len(bank) :] or '/'}")
            if name == "fill":  # the file is there, and empty, before its content is
                file = call(*arguments, **named)
                reach(f"filling {place[len(bank) :]}")
                return file
        return call(*arguments, **named)

    return step


def _place(target: Any, folder: int | None) -> str:
    if isinstance(target, int):
        return str(Path(f"/proc/self/fd/{target}").readlink())
    within = "" if folder is None else f"{Path(f'/proc/self/fd/{folder}').readlink()}/"  # as shutil.rmtree asks for
    return within + str(os.fspath(target))


def _changes(name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> bool:
    if name == "open":
        return bool((arguments[1] if len(arguments) > 1 else named["flags"]) & os.O_CREAT)
    if name == "fill":
        return bool(set("wax+") & set(arguments[1] if len(arguments) > 1 else named.get("mode", "r")))
    return True


_plain_open = io.open
