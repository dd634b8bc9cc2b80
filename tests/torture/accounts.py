"""What the logs of an atlas say of the tasks that were computed, and whether any was computed without need."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from jobs.run_log import SUFFIX, read_events

# What the log says of a task that is tried again because something was killed.
DEATHS = ("its worker was killed", "its node died", "the Ray process of its node died", "its worker was lost",
          "its node was cut off from the run", "its data were lost with a node",
          "its node has left the cluster")  # fmt: skip


@dataclass
class Account:
    """The tasks of all runs on one folder.

    runs : number of runs, the interrupted ones included.
    stored : task → how often a result of it was stored.
    again : number of attempts that were in flight when something died, and were repeated.
    lost : most tasks that were running when one run died.
    problems : lines about results that were stored twice, and attempts that nothing explains.
    """

    runs: int = 0
    stored: Counter[str] = field(default_factory=Counter)
    again: int = 0
    lost: int = 0
    problems: list[str] = field(default_factory=list)


def account(folder: Path) -> Account:
    """Read the logs in a folder, in the order in which they were written."""
    seen, begun, flying = Account(), set[str](), set[str]()
    logs = sorted(folder.glob(f"*{SUFFIX}"))
    for event in (event for log in logs for event in read_events(log)):
        name, task = event["event"], event.get("task", "")
        if name == "run":
            seen.runs += 1
            seen.lost = max(seen.lost, len(flying))
            begun -= flying  # they died with the run, and may begin once more
            seen.again += len(flying)
            flying = set()
        elif name == "started":
            if task in begun:
                seen.problems.append(f"{event['of']}: was begun again, and had neither failed nor died with a run")
            begun.add(task)
            flying.add(task)
        elif name == "again":
            if event["reason"] not in DEATHS:
                seen.problems.append(f"{event['of']}: was tried again, because {event['reason']}")
            seen.again += task in flying
            begun.discard(task)
            flying.discard(task)
        elif name == "stored":
            seen.stored[task] += 1
            flying.discard(task)
            if seen.stored[task] > 1:
                seen.problems.append(f"{event['of']}: was stored {seen.stored[task]} times")
        elif name == "failed" or name == "left_out" and event["reason"] not in DEATHS:
            seen.problems.append(f"{name}: {event.get('of', event.get('node'))}: {event['reason']}")
    return seen
