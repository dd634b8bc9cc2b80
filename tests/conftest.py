"""What every test shares: one thread, a count of what was skipped for want of data, and the test data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

NO_DATA = "ATLAS_TEST_DATA names no folder"


def pytest_configure() -> None:
    torch.set_num_threads(1)
    settings.register_profile("any_machine", deadline=None)  # a slow machine is no fault
    settings.load_profile("any_machine")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real photos and weights that ATLAS_TEST_DATA names; the test skips without it."""
    folder = os.environ.get("ATLAS_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip(NO_DATA)
    return Path(folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say last how many tests were skipped and why."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.stats.get("skipped", []):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ") if report.longrepr else "no reason"
        reasons[reason] = reasons.get(reason, 0) + 1
    if reasons:
        parts = ", ".join(f"{count} because {reason}" for reason, count in sorted(reasons.items()))
        terminalreporter.write_line(f"skipped: {parts}")
