"""Report how far the run of an atlas is: done, running, failed, left and time left, by method and by machine."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from tqdm import tqdm

from jobs.console import DONE, run_job
from jobs.ledger import STATUS
from jobs.request import read_flag, read_out
from jobs.run_log import newest, read_events
from pipeline.errors import OutputError

_QUIET = 120.0  # seconds without news after which a run on another machine is taken for dead
_FACTS = ("of", "node", "seconds", "attempt", "bytes", "fault", "reason", "text", "places", "state", "pictures")


def status(config: DictConfig) -> int:
    """Print the status of the run in a folder, or its log; return the exit code."""
    out = read_out(config)
    if read_flag(config, "log"):
        _print_log(out)
        return DONE
    record = read_status(out)
    for line in lines(record, ended_badly=is_dead(record)):
        print(line)
    return DONE


def read_status(out: Path) -> dict[str, Any]:
    """The status that the run in a folder has written last. Raises OutputError if there is none."""
    path = out / "log" / STATUS
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record, dict) or not {"state", "methods", "nodes"} <= record.keys():
            raise ValueError("it is no status")
        return record
    except FileNotFoundError:
        raise OutputError(f"{path}: not found; start a run with make atlas OUT={out}") from None
    except (OSError, ValueError) as error:
        raise OutputError(f"{path}: cannot be read ({error}); it is written anew by the next run") from None


def is_dead(record: Mapping[str, Any]) -> bool:
    """Whether a run that says it goes on was killed: its process is gone, or, on another machine, there are no news."""
    if record["state"] != "running":
        return False
    if record.get("host") == platform.node():
        with suppress(PermissionError):  # it belongs to another user, and lives
            try:
                os.kill(record["process"], 0)
            except ProcessLookupError:
                return True
        return False
    return _age(record) > _QUIET


def lines(record: Mapping[str, Any], *, ended_badly: bool = False) -> list[str]:
    """The status in words and tables."""
    state = {"running": "runs", "done": "is done", "stopped": "was stopped", "failed": "ended with an error"}
    words = "was killed; the same command continues" if ended_badly else state.get(record["state"], record["state"])
    said = [f"the run {words}; began {record['began']}, took {tqdm.format_interval(record['seconds'])}"]
    if record["state"] == "running" and not ended_badly:
        left = record.get("seconds_left")
        said[0] = f"the run {words}; began {record['began']}, {tqdm.format_interval(record['seconds'])} ago"
        said.append("time left: " + ("not known yet" if left is None else tqdm.format_interval(left)))
    header = ["method", "done", "running", "failed", "left", "results", "a second"]
    rows = [
        [
            name,
            f"{method['stored']}/{method['total']}",
            str(method["running"]),
            str(method["failed"] + method["failed_before"]),
            str(method["left"]),
            f"{method['count_stored']}/{method['count_total']} {method['noun']}",
            f"{method['rate']:.2f}",
        ]
        for name, method in record["methods"].items()
    ]
    said += ["", *_table(header, rows)]
    rows = [
        [
            name,
            node["state"],
            f"{node['running']}/{node['places']}" if node["places"] else str(node["running"]),
            str(node["stored"]),
            str(node["failed"]),
            f"{node['seconds'] / node['stored']:.1f}" if node["stored"] else "",
            node["reason"],
        ]
        for name, node in sorted(record["nodes"].items())
    ]
    if rows:
        said += ["", *_table(["machine", "state", "running", "done", "failed", "s/task", ""], rows)]
    if record.get("last_failure"):
        said += ["", f"last failure: {record['last_failure']}"]
    return said


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    padded = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (header, *rows)]
    return ["  ".join(row).rstrip() for row in padded]


def _print_log(out: Path) -> None:
    path = newest(out / "log")
    if path is None:
        raise OutputError(f"{out}/log: has no log; start a run with make atlas OUT={out}")
    for event in read_events(path):
        facts = ", ".join(f"{name} {event[name]}" for name in _FACTS if event.get(name) not in (None, ""))
        method = f" {event['method']}" if "method" in event else ""
        print(f"{event.get('time', '')}  {event.get('event', '?')}{method}{'  ' if facts else ''}{facts}")
    print(f"the whole log: {path}", file=sys.stderr)


def _age(record: Mapping[str, Any]) -> float:
    """Seconds since the status was written, by this machine's time of day."""
    updated = datetime.fromisoformat(record["updated"])
    return (datetime.now().astimezone() - updated).total_seconds()


if __name__ == "__main__":
    run_job(status, "status", __doc__)
