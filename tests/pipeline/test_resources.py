"""The precision of climbs follows from what a device states, and a machine that lacks it says so."""

from __future__ import annotations

import pytest
import torch
from cards import DEVICE

from jobs.console import compose_config
from jobs.request import read_config
from pipeline import processor
from pipeline.errors import EnvironmentFault, SettingsError
from pipeline.priors.generator import Lowered
from pipeline.resources import placed_prior, prepare


@pytest.fixture
def cpu(tmp_path, monkeypatch):
    """Let this machine's CPU state the given flags."""

    def state(flags: str | None) -> None:
        file = tmp_path / "cpuinfo"
        file.unlink(missing_ok=True)
        if flags is not None:
            file.write_text(f"processor : 0\nflags\t\t: fpu {flags} avx512f\nbugs\t: amx_bf16_bug\n")
        monkeypatch.setattr(processor, "FACTS", file)
        processor.instructions.cache_clear()

    yield state
    processor.instructions.cache_clear()


@pytest.mark.parametrize(
    ("flags", "auto", "possible"),
    [
        ("amx_bf16 avx512_bf16", "bf16", True),
        ("avx512_bf16", "float32", True),  # slower than float32
        ("avx512_bf16_not amx_tile", "float32", False),
        (None, "float32", False),  # no Linux
    ],
)
def test_auto_takes_bf16_where_the_cpu_says_that_it_is_fast(cpu, flags, auto, possible):
    cpu(flags)

    def asked(*overrides: str) -> str:
        return read_config(compose_config("atlas", ["device=cpu", *overrides])).precision

    assert asked() == asked("precision=auto") == auto
    assert asked("precision=float32") == asked("experiment=paper") == "float32"
    assert asked("precision=bf16", "cluster=ray") == "bf16"
    if possible:
        assert asked("precision=bf16") == "bf16"
        assert prepare(DEVICE, "bf16") == torch.device("cpu")
    else:
        with pytest.raises(SettingsError, match="precision: got bf16, and this machine's CPU does not compute in it"):
            asked("precision=bf16")
        with pytest.raises(EnvironmentFault, match="^precision: .*lacks amx_bf16 or avx512_bf16.*on others"):
            prepare(DEVICE, "bf16")
    assert prepare(DEVICE) == torch.device("cpu")


def test_a_precision_that_does_not_exist_is_refused():
    with pytest.raises(SettingsError, match="precision: got 'bf17', expected one of float32, bf16, auto"):
        read_config(compose_config("atlas", ["precision=bf17"]))


def test_a_generator_is_placed_once_in_each_precision():
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Prior:
        generator: torch.nn.Module
        digest: str = "twice placed"

    torch.manual_seed(0)
    prior, device = Prior(torch.nn.Linear(6, 5)), torch.device("cpu")
    full, lowered = (placed_prior(prior, device, precision=precision) for precision in ("float32", "bf16"))
    assert placed_prior(prior, device, precision="bf16") is lowered and placed_prior(prior, device) is full
    assert isinstance(lowered.generator, Lowered)
    code = torch.rand(3, 6)
    images = full.generator(code), lowered.generator(code)
    assert images[1].dtype == torch.float32
    torch.testing.assert_close(images[1], images[0], rtol=0.02, atol=0.02)
    assert not torch.equal(*images)
