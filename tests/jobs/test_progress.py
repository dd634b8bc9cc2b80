"""Progress where the output is no terminal: something is printed also while the first task runs."""

from __future__ import annotations

from types import SimpleNamespace

from jobs.dispatch import Event
from jobs.ledger import Ledger
from jobs.progress import Bars


def test_what_runs_is_printed_before_the_first_task_ends(capsys):
    now = [0.0]
    task = SimpleNamespace(method="ascent", noun="pictures", count=9, seconds=300.0, id="a", words="conv1")
    ledger = Ledger(clock=lambda: now[0])
    ledger.add([task], stored=[], failed_before=[])
    bars = Bars(ledger)
    ledger.note(Event("started", {"task": task, "node": "here"}))
    bars.begin("ascent")
    bars.begin("ascent")
    for second in range(1, 136):
        now[0] = float(second)
        bars.wait()
    assert capsys.readouterr().err.splitlines() == [
        "ascent: begins, 9 pictures, about 05:00 of one worker",
        "running for 00:15: ascent",
        "running for 01:15: ascent",
        "running for 02:15: ascent",
    ]
