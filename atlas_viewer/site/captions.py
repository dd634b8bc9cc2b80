"""The words and numbers under pictures."""

from __future__ import annotations

import math

from atlas_viewer.evidence.ascent import Pictures
from atlas_viewer.evidence.climb import Climb
from atlas_viewer.evidence.scores import Scores
from atlas_viewer.field import Status
from atlas_viewer.layer import LayerInfo

REASONS = {
    Status.ok: "",
    Status.missing: "not computed yet",
    Status.zero_gradient: "no gradient reached the picture",
    Status.nan: "its values became NaN",
    Status.never_active: "the picture never activated the unit",
    Status.failed: "its computation failed",
}
BRIEF = {  # for two words of space
    Status.ok: "",
    Status.missing: "not yet computed",
    Status.zero_gradient: "no gradient",
    Status.nan: "NaN",
    Status.never_active: "never active",
    Status.failed: "failed",
}
TOP = {"top1_rate": "top-1", "top5_rate": "top-5"}
MINUS = "\N{MINUS SIGN}"


def first_name(names: str) -> str:
    """The first of a class's names, which stand with commas between them: those of ImageNet have up to ten."""
    return names.split(",")[0]


def start(seed: int, attempt: int) -> str:
    """The random start that a picture comes from."""
    return f"{seed}, fresh start {attempt}" if attempt else str(seed)


def number(value: float) -> str:
    """A number with three or four digits; a dash for NaN."""
    if not math.isfinite(value):
        return "\N{EN DASH}"
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        text = f"{value:.2e}"
    elif size >= 1000:
        text = f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    else:
        text = f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"
    return text.replace("-", MINUS)


def count(value: int, noun: str) -> str:
    """1 unit, 2 units, 1 064 units."""
    plural = {"class": "classes", "entry": "entries"}.get(noun, noun + "s")
    return f"{thousands(value)} {noun if value == 1 else plural}"


def thousands(value: int) -> str:
    """A whole number with separated thousands."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def short(value: float) -> str:
    """A round number, for a tick."""
    return f"{value:g}".replace("-", MINUS)


def signed(value: float) -> str:
    """A correlation."""
    return f"{value:.3f}".replace("-", MINUS)


def quantile(share: float) -> str:
    """The quantile of a rank between most and least."""
    if share in (0.0, 1.0):
        return "most" if share else "least"
    return f"{100 * share:.3g}\N{NARROW NO-BREAK SPACE}%"


def ratio(activation: float, most: float, noun: str) -> str:
    """A picture's activation over the largest in any image, in words; empty where either is NaN."""
    if not (math.isfinite(activation) and math.isfinite(most)):
        return ""
    if most <= 0 or activation <= 0:
        return f"above every {noun}" if activation > most else f"below the best {noun}"
    times = activation / most
    text = f"{times:.0f}" if times >= 10 else f"{times:.1f}" if times >= 1.05 else f"{times:.2f}"
    return f"{text}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}the best {noun}"


def roman(value: int) -> str:
    """The number of a plate."""
    parts = (
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    )
    text = ""
    for size, letters in parts:
        while value >= size:
            text, value = text + letters, value - size
    return text


WINDOW_STATUSES = {  # what is known of a window, where that is not all
    "probed": "as measured by perturbation",
    "upper bound": "at most: an operation below has no rule",
    "whole image": "depends on the whole image",
}


def pair(sizes: tuple[int, int]) -> str:
    """Rows by columns."""
    return f"{sizes[0]} × {sizes[1]}"


def why(status: Status, reason: str) -> str:
    """Why a picture is missing or not ok, with the stored reason if it explains a failure."""
    if reason and status in (Status.failed, Status.missing, Status.nan):
        return f"{REASONS[status]}: {reason}"
    return REASONS[status]


def stopped(step: float) -> str:
    """Where a climb stopped before its end; empty for −1, and for NaN, which stands for not recorded."""
    return f"stopped at step {step:.0f}: no gradient" if step >= 0 else ""


def aim(pictures: Climb) -> str:
    """What was maximized, and for a style which part of the input is its picture, in sentences."""
    if not isinstance(pictures, Pictures):
        return measured(pictures)
    part = "the whole input" if pictures.canvas == "image" else "its receptive field"
    return f"{measured(pictures)} The picture is {part}."


def measured(climb: Climb) -> str:
    """What was maximized, as a sentence."""
    row, column = climb.position
    verb = "Minimized" if climb.direction == "minimize" else "Maximized"
    return f"{verb}: {climb.measure}, at row {row}, column {column}."


def setting(value: str | int | float | bool) -> str:
    """A value of a style or run as it is set; infinity means no bound."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isinf(value):
        return "none"
    return f"{value:g}".replace("-", MINUS) if isinstance(value, float) else str(value)


def sees(info: LayerInfo) -> str:
    """The window of one position of a layer."""
    stride = f", one every {pair(info.window_stride)}" if any(info.window_stride) else ""
    known = WINDOW_STATUSES.get(info.window_status, "")
    return f"{pair(info.window_size)} pixels{stride}{known and f' ({known})'}"


def verdict(scores: Scores, row: int, sample: int) -> str:
    """A judge's verdict on one picture, the class by the first of its names; empty where it was not judged."""
    first, rank = int(scores.top1[row, sample]), int(scores.target_rank[row, sample])
    if first < 0:
        return ""
    said = f"{scores.judge}: {first_name(scores.name(first))}"
    if scores.target[row] < 0:
        return said
    share = percent(float(scores.target_probability[row, sample]))
    return f"{said}; target class: {share}, rank {rank + 1}"


def rates(scores: Scores, own: bool) -> str:
    """The rates of one judge over the pictures of a style or run. own : whether it is the network itself."""
    parts = [
        f"{TOP.get(name, name.removesuffix('_rate').replace('_', ' '))} {percent(value)}"
        for name, value in scores.rates.items()
        if name.endswith("_rate") and isinstance(value, float)
    ]
    judge = f"{scores.judge}, the network itself" if own else f"{scores.judge}, a judge"
    return f"{judge}: {', '.join(parts)} of this layer's pictures" if parts else ""


def percent(share: float) -> str:
    """A share in percent, without a line break."""
    return f"{100 * share:.1f}\N{NARROW NO-BREAK SPACE}%"
