"""The log of a run: one JSON object a line, in OUT/log, for programs and for `make status`."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

log = logging.getLogger("atlas")
SUFFIX = ".jsonl"


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON: time, event, and the facts of the event.

    A record that is no event becomes the event "note" with its text.
    """

    def format(self, record: logging.LogRecord) -> str:
        facts = getattr(record, "facts", None)
        if facts is None:
            facts = {"event": "note", "level": record.levelname.lower(), "text": record.getMessage()}
        at = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
        return json.dumps({"time": at, **facts}, ensure_ascii=False, default=str)


class RunLogFile(logging.FileHandler):
    """The log file of a run. A full disk loses lines, but stops nothing: the shards report it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / f"{datetime.now():%Y-%m-%d-%H%M%S}{SUFFIX}", encoding="utf-8")
        self.setFormatter(JsonLines())

    def close(self) -> None:
        with suppress(OSError):
            super().close()

    def handleError(self, record: logging.LogRecord) -> None:
        pass


def write_event(event: str, **facts: object) -> None:
    """Add an event to the log of this run."""
    log.info(event, extra={"facts": {"event": event, **facts}})


def newest(folder: Path) -> Path | None:
    """The log of the last run in a folder of logs."""
    return max(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime, default=None)


def read_events(path: Path) -> Iterator[dict]:
    """The events of a log; a line that is not whole yet is left out."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event
