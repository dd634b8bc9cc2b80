"""Results keep their numbers, or their revision says that they changed: equal task ids must mean equal results."""

from __future__ import annotations

import json

import numpy as np
import pytest
from golden import FILE, REVISIONS, results

TOLERANCE = {"rtol": 5e-4, "atol": 5e-4}  # another processor or version of torch moves last bits; a changed rule more


@pytest.fixture(scope="module")
def now():
    return results()


@pytest.mark.parametrize("kind", REVISIONS)
def test_a_change_of_numbers_raises_the_revision(kind, now):
    module, name = REVISIONS[kind]
    kept, made = json.loads(FILE.read_text())[kind], now[kind]
    where = f"{name} in {module.__name__.replace('.', '/')}.py"
    update = "write tests/pipeline/methods/golden.json anew by running golden.py beside it"
    assert made["revision"] == kept["revision"], f"{where} was raised: {update}"
    assert made["numbers"].keys() == kept["numbers"].keys(), f"{kind} has other arrays: raise {where}, then {update}"
    moved = [
        array
        for array, values in made["numbers"].items()
        if len(values) != len(kept["numbers"][array]) or not np.allclose(values, kept["numbers"][array], **TOLERANCE)
    ]
    assert moved == [], (
        f"{kind}: the numbers of {', '.join(moved)} have changed, but shards and atlases made before would still count "
        f"as the same results. If the change is meant, raise {where}, name it under Results in CHANGELOG.md, and "
        f"{update}"
    )
