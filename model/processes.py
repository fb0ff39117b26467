"""Several processes train one network, each on its share of every step; `torchrun` starts them, one for each GPU.

    torchrun --standalone --nproc_per_node=2 -m model.train --bank patches.zarr --out runs/first

A step's batch is cut into processes x accumulate equal parts, which is checked; so every process does the same number
of passes and none waits for another that has ended. Gradients are means over the parts, as the loss of the whole batch
is the mean over its patches. Process 0 alone writes and speaks. Without torchrun there is one process, and nothing here
does anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Sampler

from model.errors import TrainingError
from pipeline.errors import ConfigError, UsageError

# What gloo and NCCL say where the other end of a connection is gone.
_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited", "NCCL error")


@dataclass(frozen=True, slots=True)
class Processes:
    """The processes of a run, as one of them sees them."""

    rank: int = 0  # of this one
    count: int = 1
    local_rank: int = 0  # of this one on its machine: the number of its GPU

    @property
    def first(self) -> bool:
        """Say whether this is the process that writes."""
        return self.rank == 0

    def pick_device(self, device: torch.device) -> torch.device:
        """Return the device of this process: of several on a machine with GPUs, each has its own."""
        if self.count == 1 or device.type != "cuda":
            return device
        if self.local_rank >= torch.cuda.device_count():
            raise UsageError(
                f"torchrun starts more processes than this machine has GPUs: --nproc_per_node="
                f"{torch.cuda.device_count()} is the most"
            )
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)

    def replicate(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Return what computes the network and makes the gradients of all processes one; the weights are shared."""
        if self.count == 1:
            return network
        return DistributedDataParallel(
            network, device_ids=[device.index] if device.type == "cuda" else None, gradient_as_bucket_view=True
        )

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum over the processes of a tensor, the same in each of them."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def agree(self, stop: bool, patch_ids: Sequence[int]) -> tuple[bool, tuple[int, ...]]:
        """Return whether any process was asked to stop, and the patches of all; `patch_ids` are equally many in each.

        It travels between CPUs, so that no GPU is waited for.
        """
        if self.count == 1:
            return stop, tuple(patch_ids)
        own = torch.tensor([int(stop), *patch_ids], dtype=torch.int64)
        gathered = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(gathered, own)
        told = [tensor.tolist() for tensor in gathered]
        return any(flag for flag, *_ in told), tuple(patch for _, *ids in told for patch in ids)


def synchronise(model: nn.Module, last: bool) -> AbstractContextManager[object]:
    """Let the gradients of a step travel once, after its last part."""
    if last or not isinstance(model, DistributedDataParallel):
        return nullcontext()
    return model.no_sync()


@contextmanager
def joined(cuda: bool) -> Iterator[Processes]:
    """Join the processes that torchrun has started, if it has.

    If one fails, all end: the first to fail says why, the others, which it leaves in the lurch, say nothing.
    """
    if not dist.is_torchelastic_launched() or os.environ["WORLD_SIZE"] == "1":
        yield Processes()
        return
    store, rank, count = next(rendezvous("env://"))
    dist.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", store=store, rank=rank, world_size=count)
    try:
        yield Processes(rank, count, int(os.environ["LOCAL_RANK"]))
    except (Exception, KeyboardInterrupt) as error:
        if not _is_first(lambda: store.add("failed", 1)):
            raise SystemExit(1) from None
        if isinstance(error, RuntimeError) and any(sign in str(error) for sign in _LOST):
            raise TrainingError(
                "another process of the run was ended from outside, perhaps for want of memory: "
                "go on with --resume, and a larger train.accumulate"
            ) from error
        raise
    dist.destroy_process_group()


def _is_first(count: Callable[[], int]) -> bool:
    try:
        return count() == 1
    except RuntimeError:  # the store has ended before
        return False


class Share(Sampler[list[Any]]):
    """The parts of a process: of each batch, cut into `count` x `accumulate` parts, every `count`-th from `rank` on."""

    def __init__(self, batches: Iterable[list[Any]], processes: Processes, accumulate: int) -> None:
        self.batches, self.processes, self.accumulate = batches, processes, accumulate

    def __iter__(self) -> Iterator[list[Any]]:
        for batch in self.batches:
            size = len(batch) // (self.processes.count * self.accumulate)
            for part in range(self.processes.rank, self.processes.count * self.accumulate, self.processes.count):
                yield batch[part * size : (part + 1) * size]


def check_shares(batch_size: int, accumulate: int, processes: Processes) -> None:
    """Raise a ConfigError if a batch cannot be cut into equal parts."""
    if batch_size % (accumulate * processes.count):
        raise ConfigError(
            f"train.batch_size = {batch_size} cannot be cut into train.accumulate = {accumulate} equal parts for each "
            f"of {processes.count} processes: choose a multiple of {accumulate * processes.count}"
        )
