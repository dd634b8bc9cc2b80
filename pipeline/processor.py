"""The instructions that the processor of this machine states; nothing is measured."""

from __future__ import annotations

from functools import cache
from pathlib import Path

FACTS = Path("/proc/cpuinfo")  # of Linux; elsewhere nothing is known of the processor


@cache
def instructions() -> frozenset[str]:
    """The flags of the processor, such as "avx2" and "amx_bf16"."""
    try:
        lines = FACTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())
