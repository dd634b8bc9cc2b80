"""The tables of numbers of the made-up atlas: those of its styles, and those of its runs."""

from __future__ import annotations

import h5py

from atlas_viewer.evidence.numbers import NUMBERS

COLUMNS = ("name", "title", "symbol", "measured_in", "meaning", "axis", "neutral", "published", "read_when")
ASCENT = (
    ("decay", "L2 decay", "θ_decay", "share removed in each update", "Pulls every pixel towards the mean.",
     "decay", "0.0", "", ""),
    ("blur_radius", "Gaussian blur", "θ_b_width", "σ in pixels", "Removes high frequencies.", "blur", "0.0", "", ""),
    ("blur_every", "every", "θ_b_every", "iterations", "Iterations between blurs.", "blur", "0", "", ""),
    ("small_val_percentile", "", "", "percentile", "Zeroes small entries.", "", "0.0", "", ""),
    ("small_norm_percentile", "Clipping small norms", "θ_n_pct", "percentile of the pixels’ norm",
     "Sets pixels of small norm to the mean.", "norm", "0.0", "", ""),
    ("px_benefit_percentile", "", "", "percentile", "Zeroes pixels of small contribution.", "", "0.0", "", ""),
    ("px_abs_benefit_percentile", "Clipping small contributions", "θ_c_pct", "percentile of the pixels’ contribution",
     "Sets pixels of small contribution to the mean.", "contribution", "0.0", "", ""),
    ("policy", "", "", "", "How steps are chosen.", "", "", "", ""),
    ("rate", "", "", "factor of the gradient", "Size of a step.", "", "", "", "policy=constant"),
    ("max_rate", "", "", "factor of the gradient", "Greatest step.", "", "", "", "policy=progress,progress01"),
    ("step_start", "", "", "pixel levels", "First step.", "", "", "", "policy=scale_free"),
    ("step_end", "", "", "pixel levels", "Last step.", "", "", "", "policy=scale_free"),
    ("max_iter", "", "", "iterations", "Iterations; the last only evaluates.", "", "", "", ""),
    ("start_image", "", "", "", "Where the ascent starts.", "", "", "", ""),
    ("keep", "", "", "", "Which iterate is kept.", "", "", "", ""),
    ("keep_from", "", "", "iterations", "First iterate that may be kept.", "", "", "", "keep=best"),
)  # fmt: skip
DGN = (
    ("iterations", "", "", "iterations", "The last only evaluates.", "", "", "200", ""),
    ("step_start", "", "", "units", "First step.", "", "", "8.0", ""),
    ("sigmas", "Bound of the code", "", "deviations", "Keeps entries within mean + so many deviations.",
     "sigmas", "null", "3.0", "clip=false"),
    ("clip", "", "", "", "Keeps entries within -1 and 1 instead.", "", "false", "false", ""),
    ("shrink", "Decay of the code", "", "factor", "Multiplies the code after each step.", "shrink", "1.0", "0.99", ""),
    ("bounded", "", "", "", "Whether there is a bound.", "", "", "true", ""),
)  # fmt: skip


def write_numbers(file: h5py.File, method: str, table: tuple[tuple[str, ...], ...]) -> None:
    """Write the table of one method: a row a number."""
    group = NUMBERS.create(file, {}, method=method)
    for name, column in zip(COLUMNS, zip(*table, strict=True), strict=True):
        NUMBERS[name].write(group, column)
