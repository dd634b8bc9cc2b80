"""What a measurement leaves: a JSON file with machine, commit, versions and figures; and a page of several of them."""

from __future__ import annotations

import html
import itertools
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jobs.bench.figures import Figures
from pipeline.errors import SettingsError

Curves = dict[str, list[tuple[float, float]]]  # title of a run → its points

_PACKAGES = ("numpy", "torch")
_STYLE = (
    "body{font:15px sans-serif;margin:2em auto;max-width:70em}td,th{text-align:left;padding:.1em .6em}"
    "td:nth-child(2){white-space:nowrap}td.number{text-align:right;white-space:nowrap}td.bar{width:18em}"
    "td.bar div{height:.8em;background:#47a;position:relative}"
    "td.bar i{position:absolute;top:.35em;height:.1em;background:#000}"
    "figure{display:inline-block;margin:.6em 1.2em .6em 0}figcaption{max-width:17em}svg{font-size:11px}"
)
_COLOURS = ("#47a", "#c62", "#384", "#939")
_WIDE, _HIGH, _EDGE = 260, 150, 16  # of a curve's plot, in pixels


def answer(question: str, figures: Figures, seconds: float, cpu_seconds: float) -> dict[str, Any]:
    """The record of a question. cpu_seconds : of this process and of those that it waited for."""
    rows = []
    for name, value, measure in figures.rows:
        row: dict[str, Any] = {"name": name, "value": value, "unit": measure}
        if name in figures.spreads:
            row["low"], row["high"] = figures.spreads[name]
        if name in figures.points:
            row["curve"], row["at"] = figures.points[name]
        rows.append(row)
    return {
        "question": question,
        "seconds": round(seconds, 3),
        "cpu seconds": round(cpu_seconds, 3),
        "figures": rows,
    }


def write(target: Path, answers: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the record of a run. answers : question's name → its record."""
    record = {
        "machine": {"processor": processor(), "cores": os.cpu_count(), "system": platform.platform()},
        "commit": commit(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        "answers": answers,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(record, indent=1) + "\n")


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return named or platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of the checkout, with + if it has changes; None outside of one."""
    root = Path(__file__).parents[2]
    try:
        asked = [["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"]]
        head, changed = (
            subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout.strip()
            for command in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changed else "")


def page(records: Mapping[str, Mapping[str, Any]]) -> str:
    """A page of the figures of several runs beside each other, as bars with their spread. records : title → record."""
    figures: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    curves: dict[str, dict[tuple[str, str], Curves]] = {}
    for title, record in records.items():
        for asked, one in record["answers"].items():
            for row in one["figures"]:
                figures.setdefault((asked, row["name"], row["unit"]), {})[title] = row
                if "curve" in row and row["value"] > 0:  # axes are logarithmic
                    drawn = curves.setdefault(asked, {}).setdefault((row["curve"], row["unit"]), {})
                    drawn.setdefault(title, []).append((row["at"], row["value"]))
    parts = ["<!doctype html><html lang=en><meta charset=utf-8><title>Benchmarks</title>", f"<style>{_STYLE}</style>"]
    parts += [f"<p>{_escaped(title)}: {_escaped(_about(record))}</p>" for title, record in records.items()]
    last = ""
    for (asked, name, unit), rows in figures.items():
        if asked != last:
            plots = "".join(_plot(*named, drawn) for named, drawn in curves.get(asked, {}).items())
            parts.append(f"{'</table>' if last else ''}<h2>{_escaped(asked)}</h2>{plots}<table>")
            last = asked
        most = max(max(row["value"], row.get("high", 0)) for row in rows.values())
        for place, (title, row) in enumerate(rows.items()):
            named = _escaped(name) if place == 0 else ""
            shown = f"{row['value']:.4g} {_escaped(unit)}"
            parts.append(
                f"<tr><td>{named}<td>{_escaped(title)}<td class=number>{shown}<td class=bar>{_bar(row, most)}</tr>"
            )
    return "\n".join([*parts, "</table>" if last else "", "</html>", ""])


def _bar(row: Mapping[str, Any], most: float) -> str:
    def share(value: float) -> float:
        return 100 * max(0.0, value) / most if most > 0 else 0.0

    width, spread = share(row["value"]), ""
    if "low" in row and width:
        low, high = share(row["low"]), share(row["high"])
        spread = f'<i style="left:{100 * low / width:.1f}%;width:{100 * (high - low) / width:.1f}%"></i>'
    return f'<div style="width:{width:.1f}%">{spread}</div>'


def _plot(name: str, unit: str, drawn: Curves) -> str:
    """A curve of each run, both axes logarithmic with one scale; dashed, growth in proportion."""
    points = [point for curve in drawn.values() for point in curve]
    (left, right), (low, high) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))
    first = min(next(iter(drawn.values())))

    span = max(math.log(high / low), math.log(right / left)) or 1  # so what hardly grows is flat

    def place(at: float, value: float) -> str:
        across = math.log(at / left) / (math.log(right / left) or 1)
        up = math.log(value / low) / span
        return f"{_EDGE + across * (_WIDE - 2 * _EDGE):.1f},{_HIGH - _EDGE - up * (_HIGH - 2 * _EDGE):.1f}"

    proportional = f"{place(*first)} {place(right, first[1] * right / first[0])}"
    lines = [f'<polyline points="{proportional}" fill="none" stroke="#aaa" stroke-dasharray="4 3"/>']
    for colour, (title, curve) in zip(itertools.cycle(_COLOURS), drawn.items(), strict=False):
        corners = [place(*point) for point in sorted(curve)]
        dots = "".join(
            '<circle cx="{}" cy="{}" r="2.5"/>'.format(*corner.split(",")) for corner in corners
        )  # fmt: skip
        lines.append(
            f'<g fill="{colour}"><title>{_escaped(title)}</title>'
            f'<polyline points="{" ".join(corners)}" fill="none" stroke="{colour}"/>{dots}</g>'
        )
    ends = ((_EDGE, "start", first), (_WIDE - _EDGE, "end", max(next(iter(drawn.values())))))
    for across, anchor, (at, value) in ends:
        height = float(place(at, value).split(",")[1])
        lines.append(f'<text x="{across}" y="{_HIGH - 2}" text-anchor="{anchor}">{at:,}</text>')
        lines.append(f'<text x="{across}" y="{height - 5:.1f}" text-anchor="{anchor}">{value:.3g}</text>')
    size = f'width="{_WIDE}" height="{_HIGH}" viewBox="0 0 {_WIDE} {_HIGH}"'
    caption = f"<figcaption>{_escaped(name)}, {_escaped(unit)}</figcaption>"
    return f"<figure>{caption}<svg {size}>{''.join(lines)}</svg></figure>"


def _about(record: Mapping[str, Any]) -> str:
    machine, versions = record["machine"], record["versions"]
    packages = ", ".join(f"{name} {value}" for name, value in versions.items())
    return f"{machine['processor']}, {machine['cores']} cores, commit {(record['commit'] or '?')[:12]}, {packages}"


def _escaped(text: object) -> str:
    return html.escape(str(text))


def main(paths: Sequence[str]) -> None:
    """Print a page of the records in these files."""
    records = {}
    for path in paths:
        try:
            records[Path(path).stem] = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError(f"{path}: no record of make bench ({error}); give what file=PATH wrote") from None
    print(page(records))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
