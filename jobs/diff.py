"""Print how two atlases, or two settings, differ: which layers and units, and by how much."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from jobs.console import DONE, run_job
from jobs.settings_reader import plain, typed
from pipeline.errors import OutputError, SettingsError
from pipeline.settings import check

if TYPE_CHECKING:
    from atlas_viewer.difference import Line

DIFFERENT = 1
NAMES = ("layer", "evidence", "units", "only A", "only B", "differ", "median", "largest", "pictures")


def diff(config: DictConfig) -> int:
    """Print a table, and make a page if one is asked for; return the exit code: 0 if all is the same, 1 otherwise."""
    from atlas_viewer.atlas import Atlas
    from atlas_viewer.difference import compare, heads, numbers
    from atlas_viewer.site.pages.difference import write_page

    settings, tolerance = _settings(config), _tolerance(config)
    shown = typed(config.shown, int, "shown")
    check("shown", shown, "0 or more", shown >= 0)
    first = _atlas(config, "a", None)
    second = _atlas(config, "b", first if settings is not None else None)
    with Atlas(first) as a, Atlas(second) as b:
        lines = list(compare(a, b, settings, tolerance))
        for name, one, other in heads(a, b):
            print(f"{name}: {one} | {other}")
        values = ((line.evidence, *number) for line in lines for number in numbers(line))
        for evidence, name, one, other in dict.fromkeys(values):
            print(f"{evidence}: {name} {one} | {other}")
        _print_table(lines)
        units = [unit for line in lines for unit in line.differing]
        units.sort(key=lambda unit: -math.inf if math.isnan(unit.difference) else -abs(unit.difference))
        for unit in units[:shown]:
            states = "" if unit.status == unit.other_status else f" ({unit.status} | {unit.other_status})"
            address = " ".join(filter(None, (f"{unit.layer}:{unit.unit}", unit.label, unit.evidence)))
            print(f"{address}: {unit.first:.6g} | {unit.second:.6g}{states}")
        if len(units) > shown:
            print(f"… and {len(units) - shown} further differences")
        if config.out is not None:
            out = Path(typed(config.out, str, "out")).expanduser()
            write_page(a, b, lines, out)
            print(f"open {out}/index.html", file=sys.stderr)
    print(_verdict(lines), file=sys.stderr)
    return DONE if all(line.same for line in lines) else DIFFERENT


def _verdict(lines: Sequence[Line]) -> str:
    """What differs, in one line: units of layers that both atlases have, units and layers that one alone has."""
    from atlas_viewer.difference import distinct_units

    if all(line.same for line in lines):
        return "the same"
    both = [line for line in lines if line.layer is not None and line.other is not None]
    compared = {line.name: line.units for line in both}
    parts = [f"units that differ: {distinct_units(lines)} of {sum(compared.values())} compared"]
    for name, alone in (
        ("A", [line.name for line in lines if line.other is None]),
        ("B", [line.name for line in lines if line.layer is None]),
    ):
        if alone:
            parts.append(f"layers only in {name}: {', '.join(dict.fromkeys(alone))}")
    if any(line.only_first or line.only_second for line in both):
        parts.append("some units only in one of them, see the table")
    return "; ".join(parts)


def _atlas(config: DictConfig, name: str, otherwise: Path | None) -> Path:
    """The file that an option names: an atlas, or the folder of one."""
    if OmegaConf.is_missing(config, name) or config[name] is None:
        if otherwise is None:
            raise SettingsError(f"{name}: missing; name the folders of two atlases: make diff A=atlases/a B=atlases/b")
        return otherwise
    path = Path(typed(config[name], str, name)).expanduser()
    file = path / "atlas.h5" if path.is_dir() else path
    if not file.is_file():
        raise OutputError(f"{file}: not found; name the folder of an atlas by {name.upper()}=…")
    return file


def _tolerance(config: DictConfig) -> float:
    value = config.tolerance
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    check("tolerance", value, "a number from 0 up", number and 0 <= value < math.inf)
    return float(value)


def _settings(config: DictConfig) -> tuple[str, str] | None:
    given = plain(config.settings)
    if given is None:
        return None
    if not isinstance(given, list) or len(given) != 2:
        raise SettingsError(
            f"settings: got {given}, expected two styles or runs such as [low_frequency,sparse], or null"
        )
    return str(given[0]), str(given[1])


def _print_table(lines: Sequence[Line]) -> None:
    """A row for each line that differs, and a count of the others."""
    rows = [NAMES, *(_cells(line) for line in lines if not line.same)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(NAMES))]
    if len(rows) > 1:
        for row in rows:
            cells = [f"{cell:{width}}" if at < 2 else f"{cell:>{width}}"
                     for at, (cell, width) in enumerate(zip(row, widths, strict=True))]  # fmt: skip
            print("  ".join(cells).rstrip())
    same = sum(line.same for line in lines)
    if same:
        print(f"the same: {same} of {len(lines)}")


def _cells(line: Line) -> tuple[str, ...]:
    counts = (line.units, line.only_first, line.only_second, len(line.differing))
    values = ["" if math.isnan(value) else f"{value:.4g}" for value in (line.median, line.largest)]
    return (line.name, line.evidence, *map(str, counts), *values, "" if line.pictures is None else str(line.pictures))


if __name__ == "__main__":
    run_job(diff, "diff", __doc__)
