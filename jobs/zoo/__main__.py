"""Open and check the architectures of the zoo, and write docs/networks.md: make zoo, or make zoo ARGS="swin vgg".

Every architecture runs in a process of its own. Results are kept in outputs/zoo/results.jsonl, one a line: the same
command goes on where it stopped. ARGS: words that addresses or families must contain; again, to repeat those that have
a result; page, to write the page only; seconds=600, the time limit of an architecture.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from jobs.zoo.architectures import ARCHITECTURES, Architecture
from jobs.zoo.examination import examine_into
from jobs.zoo.page import page
from pipeline.errors import SettingsError

RESULTS = Path("outputs/zoo/results.jsonl")
PAGE = Path("docs/networks.md")
LIMIT = 600.0  # seconds an architecture


def main(arguments: Sequence[str]) -> None:
    """Examine what the arguments choose and has no result yet; write the page of all results."""
    limit = next((float(word.partition("=")[2]) for word in arguments if word.startswith("seconds=")), LIMIT)
    words = [word.lower() for word in arguments if word not in ("again", "page") and not word.startswith("seconds=")]
    chosen = [one for one in ARCHITECTURES if not words or any(word in _text(one) for word in words)]
    if not chosen:
        asked = " ".join(words)
        raise SettingsError(f"zoo {asked}: no architecture has that in its name; see jobs/zoo/architectures.py")
    results = read_results(RESULTS)
    if "page" not in arguments:
        waiting = [one for one in chosen if "again" in arguments or one.key not in results]
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["jobs.zoo.packages", "jobs.zoo.examination"])
        for place, architecture in enumerate(waiting, start=1):
            found = examined(architecture, limit, context)
            with RESULTS.open("a") as file:
                file.write(json.dumps(found) + "\n")
            results[architecture.key] = found
            print(f"{place} of {len(waiting)}  {architecture.key}  {_brief(found)}", flush=True)
    PAGE.write_text(page(ARCHITECTURES, results))


def examined(architecture: Architecture, limit: float, context: multiprocessing.context.BaseContext) -> dict:
    """The result of an architecture; where its process ends before its time, what it had found until then, and why."""
    path = RESULTS.parent / "running.json"
    path.write_text(json.dumps({"key": architecture.key, "errors": {}, "running": "start"}))
    start = time.perf_counter()
    process = context.Process(target=examine_into, args=(architecture, path))  # type: ignore[attr-defined]
    process.start()
    process.join(limit)
    late = process.is_alive()
    if late:
        process.kill()
        process.join()
    found = json.loads(path.read_text())
    part = found.pop("running", None)
    if part is not None:
        found["errors"][part] = f"took longer than {limit:g} s" if late else f"its process ended ({process.exitcode})"
    return found | {"seconds": round(time.perf_counter() - start, 1)}


def read_results(path: Path) -> dict[str, dict]:
    """Address → its last result."""
    lines = path.read_text().splitlines() if path.is_file() else []
    return {found["key"]: found for found in map(json.loads, lines)}


def _text(architecture: Architecture) -> str:
    return f"{architecture.family} {architecture.key}".lower()


def _brief(found: dict) -> str:
    return "; ".join(f"{part}: {error}" for part, error in found["errors"].items()) or f"{found['seconds']} s"


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
