"""Convert plan.json of version 1, so that atlases begun with that version can be continued."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.plan import VERSION

_BASES = "ascent"  # only styles could be swept


def of_version_1(record: Mapping[str, Any]) -> dict[str, Any]:
    """The same plan as the values of a plan.json of the current version."""
    one = {"tops": record.get("mining"), "memorisation": record.get("memorisation")}
    scores = [
        {key: value for key, value in task.items() if key not in ("method", "revision")} for task in record["scores"]
    ]
    settings = {
        "ascent": record["styles"],
        "dgn": record.get("searches", {}),
        "combinations": record.get("combinations", {}),
        "tops": {} if one["tops"] is None else {"dataset": one["tops"]},
        "memorisation": {} if one["memorisation"] is None else {"test": one["memorisation"]},
        "scores": {_question(score): score for score in scores},
    }
    settings = {method: asked for method, asked in settings.items() if asked}
    parts = [["ascent", *part] for part in record["units"]] + [["dgn", *part] for part in record.get("dgn", [])]
    parts += [["tops", layer, "dataset", 0, pairs] for layer, pairs in record["tops"].items()]
    sweep = record.get("sweep", {})
    return {
        "version": VERSION,
        "network": record["network"],
        "settings": settings,
        "parts": parts,
        "order": {method: sorted(asked) for method, asked in settings.items()},
        "sweep": {_BASES: sweep} if sweep else {},
    }


def _question(score: Mapping[str, Any]) -> str:
    return "\n".join((score["judge"], score["layer"], score.get("made_by", "ascent"), score["style"]))
