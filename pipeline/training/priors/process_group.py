"""The process group of a training run: each process learns from its share of a batch, and all take the same steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

_TIMEOUT = timedelta(minutes=30)  # for the slowest: the others wait while the first process measures and writes


@dataclass(frozen=True)
class ProcessGroup:
    """This process's place in its group, and the averages over the group."""

    rank: int  # of this process, from 0
    size: int  # number of processes
    device: torch.device  # where this process computes

    @property
    def leads(self) -> bool:
        """Whether this is the first process, which writes the files and the log."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.size
        at = 0
        for gradient in gradients:
            gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
            at += gradient.numel()

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes; the tensor itself may be overwritten."""
        if self.size > 1:
            distributed.all_reduce(values)
            values = values / self.size
        return values


ALONE = ProcessGroup(0, 1, torch.device("cpu"))


@contextmanager
def joined_process_group(rank: int, size: int, device: torch.device, rendezvous: str) -> Iterator[ProcessGroup]:
    """Join a process group; leave it when the context ends, also after an error.

    rank : of this process.
    size : number of processes.
    device : where this process computes.
    rendezvous : URL at which the processes find each other, "file:///…" or "tcp://host:port"; unused if size is 1.
    Raises RuntimeError, as every average does, when a process of the group is lost.
    """
    if size == 1:
        yield ProcessGroup(rank, size, device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=rendezvous, rank=rank, world_size=size, timeout=_TIMEOUT)
    try:
        yield ProcessGroup(rank, size, device)
    finally:
        distributed.destroy_process_group()
