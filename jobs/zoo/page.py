"""docs/networks.md: what the zoo found, a line each, and a summary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from jobs.zoo.architectures import Architecture

PARITY = 1e-4  # of a layer's largest value
STATUSES = ("exact", "probed", "upper bound", "whole image")
NAMED = 4  # names of layers that are listed in a reason
_INTRODUCTION = """\
# Networks

`make zoo` opens a fixed list of architectures with random weights, from torchvision, timm, transformers and pytorchcv,
and checks each; this page is what it wrote. Any other network is opened the same way; [running.md](running.md) says
how.

"""
_COLUMNS = """\
- **loads**: seconds to capture and translate the module, on one core.
- **layers**: submodules that are layers under their own paths, of the convolutions, linear layers and blocks that ran.
  That is what forward hooks see: submodules with weights or with parts, whose values the image decides and a result
  needs. A submodule whose forward is never called, such as a `ModuleList`, or a projection whose weights are used by
  a function, has no value and does not count. "+ n" counts further submodules that are no layers, such as the softmax
  of an attention, whose values belong to pairs of positions.
- **parity**: the largest difference from the value that a plain forward hook sees, as a share of the layer's largest
  absolute value; the worst of all layers.
- **exact, probed, bound, whole**: layers by what is known of their windows: by rule; measured by perturbation; an upper
  bound, though nothing proves that it is reached; the whole image.
- **gradient**: of three layers (early, middle, late) those whose window holds all pixels with a gradient from the
  centre position, and is no wider than they are unless its status says so.
- **ascent**: of four units of a middle layer those whose activation rose in ten steps. Units that random weights
  switch off, so that they have no gradient, do not count.
"""


def page(architectures: Sequence[Architecture], results: Mapping[str, Mapping]) -> str:
    """The page. results : address of an architecture → what `examine` found; others were not run."""
    rows = [(one, results[one.key]) for one in architectures if one.key in results]
    rows.sort(key=lambda row: (row[0].family.lower(), row[0].key))
    text = _INTRODUCTION + "".join(f"- {line}\n" for line in _summary(architectures, rows))
    text += "\n## Columns\n\n" + _COLUMNS + "\n## Results\n\n"
    text += _table(rows)
    notes = [f"- `{one.key}`: {reason}\n" for one, found in rows for reason in reasons(found)]
    return text + "\n## What does not pass\n\n" + ("".join(notes) if notes else "Nothing.\n")


def reasons(found: Mapping) -> list[str]:
    """What an architecture does not pass, a line each."""
    lines = [f"{part}: {error}" for part, error in found["errors"].items()]
    if found.get("missing"):
        lines.append(f"no layers: {_listed(found['missing'])}")
    parity = found.get("parity")
    if parity and not parity["worst"] <= PARITY:
        own = parity.get("rounding")
        words = "" if own is None else f"; the module's own value differs from that in double precision by {own:.1e}"
        lines.append(f"`{parity['layer']}` differs by {parity['worst']:.1e}{words}")
    if parity and parity["unread"]:
        lines.append(f"not compared, because the hook's value has another form: {_listed(parity['unread'])}")
    for one in found.get("gradients", ()):
        if not _faithful(one):
            kind = "does not hold" if not one["inside"] else f"is {one['status']}, and wider than"
            window, support = (_box(one[name]) for name in ("window", "support"))
            lines.append(f"`{one['layer']}`: its window {window} {kind} the support of its gradient, {support}")
    climbed = found.get("ascent")
    if climbed and (climbed["raised"] < climbed["ok"] or climbed["ok"] == 0):
        lines.append(f"`{climbed['layer']}`: {climbed['raised']} of {climbed['ok']} units with a gradient rose")
    return lines


def _summary(architectures: Sequence[Architecture], rows: Sequence[tuple[Architecture, Mapping]]) -> list[str]:
    found = [one for _, one in rows]
    loaded = [one for one in found if "loads" in one]
    listed = [one for one in loaded if one.get("missing") == []]
    equal = [one for one in loaded if "parity" in one and one["parity"]["worst"] <= PARITY]
    windows = {status: sum(one.get("windows", {}).get(status, 0) for one in found) for status in STATUSES}
    gradients = [each for one in found for each in one.get("gradients", ())]
    climbed = [one["ascent"] for one in found if "ascent" in one]
    families = len({one.family for one, _ in rows})
    left = len(architectures) - len(rows)
    lines = [
        f"{len(rows)} architectures of {families} families"
        + (f"; {left} more of the list have not been run" if left else ""),
        f"{_share(len(loaded), len(rows))} load",
        f"{_share(len(listed), len(rows))} have all convolutions, linear layers and blocks that ran as layers "
        f"({sum(one['modules']['layers'] for one in loaded if 'modules' in one)} submodules ran, "
        f"{sum(len(one.get('missing', ())) for one in loaded)} of these are missing)",
        f"{_share(len(equal), len(rows))} have every compared layer within {PARITY:g} of its largest value "
        f"({sum(one['parity']['compared'] for one in loaded if 'parity' in one)} layers compared)",
        "windows: " + ", ".join(f"{count} {status}" for status, count in windows.items()),
        f"{_share(sum(map(_faithful, gradients)), len(gradients))} windows agree with the gradient",
        f"{_share(sum(one['raised'] for one in climbed), sum(one['ok'] for one in climbed))} units rise in ten steps",
    ]
    return lines


def _table(rows: Sequence[tuple[Architecture, Mapping]]) -> str:
    heads = ("family", "network", "input", "loads", "layers", "parity", "exact", "probed", "bound", "whole", "gradient",
             "ascent")  # fmt: skip
    lines = [heads, ["---", "---", *["---:"] * (len(heads) - 2)]]
    family = None
    for one, found in rows:
        lines.append(["" if one.family == family else one.family, f"`{one.key}`", str(one.size), *_cells(found)])
        family = one.family
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(found: Mapping) -> list[str]:
    def cell(name: str, text: Callable[[Mapping], str]) -> str:
        return text(found) if name in found else "–"

    windows = [cell("windows", lambda one, status=status: str(one["windows"].get(status, 0))) for status in STATUSES]
    return [
        cell("loads", lambda one: f"{one['loads']:.1f}"),
        cell("missing", _layers),
        cell("parity", lambda one: f"{one['parity']['worst']:.0e}"),
        *windows,
        cell("gradients", lambda one: f"{sum(map(_faithful, one['gradients']))} of {len(one['gradients'])}"),
        cell("ascent", lambda one: f"{one['ascent']['raised']} of {one['ascent']['ok']}"),
    ]


def _layers(found: Mapping) -> str:
    ran = found["modules"]["layers"] - len(found["left_out"])
    others = f" + {len(found['left_out'])}" if found["left_out"] else ""
    return f"{ran - len(found['missing'])} of {ran}{others}"


def _faithful(gradient: Mapping) -> bool:
    """Whether a window holds the gradient's support, and is no wider unless its status says so."""
    return gradient["inside"] and (gradient["equal"] or gradient["status"] not in ("exact", "whole image"))


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(f"`{name}`" for name in names[:NAMED]) + more


def _box(box: Sequence[int]) -> str:
    top, left, bottom, right = box
    return f"{top}–{bottom - 1}, {left}–{right - 1}"
