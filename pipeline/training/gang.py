"""The processes of one training: each learns from its own share of a batch, and all take the same steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

_PATIENCE = timedelta(minutes=30)  # for the slowest: the leader looks at images and writes while the others wait


@dataclass(frozen=True)
class Gang:
    """rank, size : which of how many processes this is. device : where it computes."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes."""
        if self.size == 1:
            return
        given = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in given])
        distributed.all_reduce(flat)
        flat /= self.size
        at = 0
        for gradient in given:
            gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
            at += gradient.numel()

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over the processes."""
        if self.size > 1:
            distributed.all_reduce(values)
            values = values / self.size
        return values


ALONE = Gang(0, 1, torch.device("cpu"))


@contextmanager
def joined(rank: int, size: int, device: torch.device, meeting: str) -> Iterator[Gang]:
    """A gang that this process belongs to, joined on the way in and left on every way out.

    meeting : where the processes find each other, "file:///…" or "tcp://host:port"; unused by one alone.
    Raises RuntimeError, as does whatever is averaged, when one of them is lost.
    """
    if size == 1:
        yield Gang(rank, size, device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, init_method=meeting, rank=rank, world_size=size, timeout=_PATIENCE)
    try:
        yield Gang(rank, size, device)
    finally:
        distributed.destroy_process_group()
