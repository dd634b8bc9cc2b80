"""A short run over every kind of input, always of the same cases; `make fuzz` reads many more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.kind import Kind
from tests.fuzz.kinds import KINDS
from tests.fuzz.trial import fault, random_of

CASES = 60  # of each kind, divided by how costly it is
# A crash of the library would end the tests, and composing a configuration takes long: `make fuzz` alone reads these.
SHORT = [name for name, kind in KINDS.items() if not kind.may_crash and kind.costly < 10]


@pytest.mark.parametrize("name", SHORT)
def test_damaged_and_hostile_inputs_end_in_one_line(name, tmp_path):
    kind = KINDS[name](tmp_path)
    for number in range(int(CASES / kind.costly)):
        case = kind.case(random_of(0, name, number))
        assert fault(kind, case) is None, f"make fuzz ARGS='kinds={name} case={number}'"


class Bad(Kind):
    """Inputs that are read as badly as they say."""

    def make_seeds(self) -> list[str]:
        return []

    def case(self, random):
        return ""

    def read(self, case: str) -> None:
        if case == "hang":
            while True:
                pass
        if case == "memory":
            raise MemoryError
        if case == "control":
            raise UnicodeError("never expected")
        raise KeyError(case)


@pytest.mark.parametrize(
    ("case", "said"), [("memory", "too much memory"), ("control", "raises UnicodeError"), ("x", "raises KeyError")]
)
def test_what_goes_wrong_is_said(case, said, tmp_path):
    assert said in fault(Bad(tmp_path), case)


def test_a_hang_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.fuzz.trial.SECONDS", 0.01)
    assert fault(Bad(tmp_path), "hang").startswith("hangs")


@pytest.mark.slow
def test_a_crash_of_a_library_is_a_finding_with_its_input(tmp_path):
    """By a kind that ends its own process."""
    program = (
        "import os, sys\nfrom tests.fuzz import __main__ as fuzz\nfrom tests.fuzz.kinds.requests import Addresses\n"
        "class Crash(Addresses):\n    def read(self, case):\n        os.abort()\n"
        f"fuzz.KINDS['units'] = Crash\nsys.exit(fuzz.main(['kinds=units', 'cases=1', 'out={tmp_path}']))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[2], env=os.environ
    )
    assert run.returncode == 1, run.stderr
    assert "ends the process by SIGABRT" in run.stdout and run.stdout.split()[-1] == "3"  # findings
    assert len([*tmp_path.glob("units-*.input")]) == 1  # one is kept of those that end alike
