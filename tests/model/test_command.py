"""Exit statuses and the one sentence."""

from __future__ import annotations

import pytest
import torch

from model.command import Parser, is_out_of_memory, pick_device, run_command
from model.errors import TrainingError
from pipeline.errors import BankMissing, UsageError


def raising(error: BaseException) -> int:
    raise error


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        (TrainingError("it is so"), 1, "Error: it is so"),
        (BankMissing("there is none"), 2, "Error: there is none"),
        (UsageError("not this way"), 2, "Error: not this way"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (MemoryError(), 1, "Error: out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\nmuch"), 1, "Error: out of memory"),
        (PermissionError(13, "Permission denied", "/out"), 1, "Error: Permission denied: /out"),
        (
            RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed."),
            1,
            "Error: a process that reads patches",
        ),
    ],
)
def test_errors_become_a_status_and_a_sentence(
    error: BaseException, status: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(lambda: raising(error)) == status
    stderr = capsys.readouterr().err
    assert stderr.startswith(sentence)
    assert stderr.count("\n") == 1


def test_a_fault_of_the_program_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        run_command(lambda: raising(RuntimeError("shape mismatch")))


def test_a_refused_allocation_of_torch_is_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_a_wrong_option_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="unrecognized arguments: --nonsense"):
        Parser().parse_args(["--nonsense"])


def test_device_is_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    with pytest.raises(UsageError, match="torch sees no GPU here"):
        pick_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto") == pick_device("cuda") == torch.device("cuda")
    assert pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("said", ["std::bad_alloc", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when"])
def test_memory_refused_to_the_libraries_of_torch_is_known(said: str) -> None:
    assert is_out_of_memory(RuntimeError(said))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
