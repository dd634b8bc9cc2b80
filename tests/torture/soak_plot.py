"""What a soak measured, as a plot: memory, handles, speed and disk against time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.torture.levels import Row, speed

_RUST, _SLATE = "#8c2f1b", "#33566b"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the plot as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 5.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3, sharex=True)
    minutes = [row["seconds"] / 60 for row in rows]

    def lines(at: tuple[int, int], title: str, *series: tuple[str, Sequence[float], str]) -> None:
        place = axes[at]
        place.set_title(title, loc="left", fontsize=10)
        for label, values, colour in series:
            place.plot(minutes, values, color=colour, linewidth=1.1, label=label)
        if len(series) > 1:
            place.legend(frameon=False, fontsize=8)
        place.set_ylim(0, 1.15 * max(max(values) for _, values, _ in series))

    def millions(name: str, of: str | None = None) -> list[float]:
        return [row[name] / 1e6 / (1 if of is None else max(row[of], 1)) for row in rows]

    lines((0, 0), "driver, MB", ("memory", millions("driver_bytes"), _RUST))
    lines((0, 1), "driver", ("handles", [row["driver_handles"] for row in rows], _RUST),
          ("threads", [row["driver_threads"] for row in rows], _SLATE))  # fmt: skip
    lines((0, 2), "cluster, MB", ("head", millions("head_bytes"), _RUST),
          ("a node with its workers", millions("nodes_bytes", "nodes"), _SLATE))  # fmt: skip
    at, rates = zip(*speed(rows), strict=True) if speed(rows) else ((), ())
    axes[1, 0].plot([seconds / 60 for seconds in at], rates, color=_RUST, linewidth=1.1)
    axes[1, 0].set_title("tasks a second and node", loc="left", fontsize=10)
    axes[1, 0].set_ylim(0, 1.15 * max(rates, default=1))
    lines((1, 1), "atlas folder, MB", ("all", millions("out_bytes"), _RUST),
          ("logs in it", millions("out_log_bytes"), _SLATE))  # fmt: skip
    lines((1, 2), "nodes", ("nodes", [row["nodes"] for row in rows], _RUST))
    for place in axes.flat:
        place.spines[["top", "right"]].set_visible(False)
        place.tick_params(labelsize=8)
    for place in axes[1]:
        place.set_xlabel("minutes", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
