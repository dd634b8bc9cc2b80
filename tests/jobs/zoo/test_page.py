"""The page of the zoo: its sums, its table and what does not pass."""

from __future__ import annotations

from jobs.zoo.architectures import Architecture
from jobs.zoo.page import page, reasons

GOOD = {
    "key": "timm:good", "errors": {}, "loads": 1.26, "tabulates": 0.1, "missing": [], "left_out": ["attn.softmax"],
    "modules": {"layers": 11, "idle": 1, "unused": 0, "fixed": 0},
    "parity": {"compared": 10, "worst": 2.4e-6, "layer": "head", "unread": []},
    "windows": {"exact": 7, "probed": 2, "whole image": 1},
    "gradients": [
        {"layer": "a", "status": "exact", "window": [2, 2, 5, 5], "support": [2, 2, 5, 5], "inside": True,
         "equal": True},
        {"layer": "b", "status": "upper bound", "window": [0, 0, 9, 9], "support": [1, 1, 9, 9], "inside": True,
         "equal": False},
    ],
    "ascent": {"layer": "a", "units": 4, "ok": 4, "raised": 4},
}  # fmt: skip
WIDER = GOOD["gradients"][1] | {"layer": "c", "status": "exact"}
OUTSIDE = WIDER | {"status": "upper bound", "window": [2, 2, 9, 9], "inside": False}
BAD = GOOD | {
    "key": "timm:bad", "missing": ["x", "y", "z", "u", "v"], "gradients": [WIDER, OUTSIDE],
    "parity": {"compared": 5, "worst": 2e-3, "layer": "head", "unread": ["odd"], "rounding": 3e-7},
    "ascent": {"layer": "a", "units": 4, "ok": 2, "raised": 1},
}  # fmt: skip
BROKEN = {"key": "timm:broken", "errors": {"load": "DefinitionError: no"}, "seconds": 2.0}
LIST = tuple(
    Architecture(family, "timm", name, 9)
    for family, name in (("B", "good"), ("a", "bad"), ("B", "broken"), ("C", "new"))
)
RESULTS = {found["key"]: found for found in (GOOD, BAD, BROKEN)}


def test_what_passes_has_no_reasons():
    assert reasons(GOOD) == []


def test_what_does_not_pass_is_named():
    assert reasons(BROKEN) == ["load: DefinitionError: no"]
    assert reasons(BAD) == [
        "no layers: `x`, `y`, `z`, `u` and 1 more",
        "`head` differs by 2.0e-03; the module's own value differs from that in double precision by 3.0e-07",
        "not compared, because the hook's value has another form: `odd`",
        "`c`: its window 0–8, 0–8 is exact, and wider than the support of its gradient, 1–8, 1–8",
        "`c`: its window 2–8, 2–8 does not hold the support of its gradient, 1–8, 1–8",
        "`a`: 1 of 2 units with a gradient rose",
    ]


def test_the_summary_counts():
    text = page(LIST, RESULTS)
    for line in (
        "- 3 architectures of 2 families; 1 more of the list have not been run\n",
        "- 2 of 3 load\n",
        "- 1 of 3 have all convolutions, linear layers and blocks that ran as layers (22 submodules ran, 5 of these",
        "- 1 of 3 have every compared layer within 0.0001 of its largest value (15 layers compared)\n",
        "- windows: 14 exact, 4 probed, 0 upper bound, 2 whole image\n",
        "- 2 of 4 windows agree with the gradient\n",
        "- 5 of 6 units rise in ten steps\n",
    ):
        assert line in text


def test_the_table_is_sorted_by_family_and_shows_what_is_not_known():
    lines = [line for line in page(LIST, RESULTS).splitlines() if line.startswith("|")]
    assert lines[2:] == [
        "| a | `timm:bad` | 9 | 1.3 | 5 of 10 + 1 | 2e-03 | 7 | 2 | 0 | 1 | 0 of 2 | 1 of 2 |",
        "| B | `timm:broken` | 9 | – | – | – | – | – | – | – | – | – |",
        "|  | `timm:good` | 9 | 1.3 | 10 of 10 + 1 | 2e-06 | 7 | 2 | 0 | 1 | 2 of 2 | 4 of 4 |",
    ]
    assert {line.count("|") for line in lines} == {13}


def test_nothing_to_report_is_said():
    assert page(LIST[:1], RESULTS).endswith("## What does not pass\n\nNothing.\n")
