"""The report on a trained prior: its card as Markdown, its table of errors, its recipe as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pipeline.priors.prior import Prior
from pipeline.training.priors.evaluation import Errors
from pipeline.training.priors.recipe import PriorRecipe

_ABOUT_ERRORS = (
    "Over {count} held-out images, with the weights as stored. Pixel: mean square of the difference, levels from 0 to "
    "1. Code: square of the code's difference, divided by the square of its distance from the mean code. Layers, after "
    "their ReLU: square of the difference, divided by the square of the values. The baselines are the mean image and a "
    "blurred copy of each image. "
    "Shared: root mean square of the images' mean difference, levels from 0 to 255. It measures marks at the same "
    "positions of all images; a few levels are random. "
    "Grid: power at the axis frequencies of a period over the power of their neighbours, in dB. Compare it with that "
    "of the images themselves."
)


def error_table(errors: Mapping[str, Errors]) -> tuple[tuple[str, ...], ...]:
    """Return the errors as rows of text, the head first.

    Layers' errors are shares of the values' energy; grids are in dB. The row of the images themselves has no errors,
    only the grids with which the others are compared.
    """
    any_error = next(iter(errors.values()))
    layers, grid = list(any_error.layers), list(any_error.grid)
    rows = [("", "pixel", "code", *layers, "shared", *(f"grid {period} px" for period in grid))]
    for name, error in errors.items():
        shares = [f"{error.pixel:.4f}", f"{error.code:.3f}", *(f"{error.layers[layer]:.3f}" for layer in layers)]
        shares.append(f"{error.shared:.1f}")
        shown = shares if error.pixel else [""] * len(shares)
        rows.append((name, *shown, *(f"{error.grid[period]:.1f}" for period in grid)))
    return tuple(rows)


def recipe_numbers(recipe: PriorRecipe) -> tuple[tuple[str, str], ...]:
    """Return the name and the text of every field of a recipe."""
    return tuple((name, _text(value)) for name, value in asdict(recipe).items())


def card_text(
    prior: Prior, recipe: PriorRecipe, errors: Mapping[str, Errors], probe: str, measured: int, processes: int
) -> str:
    """Return the card of a prior, as Markdown.

    errors : as measure_errors returns.
    probe : what the linear probe measured, as probe_text returns; "" to leave it out.
    measured : number of held-out images.
    processes : number of processes that trained it together.
    """
    shape = " × ".join(map(str, prior.code_shape))
    weights = sum(value.numel() for value in prior.generator.parameters())
    about = (
        ("Inverts", f"{prior.network} (`{prior.network_digest[:12]}`)"),
        ("Code", f"`{prior.code_layer}` after its ReLU, {shape}"),
        ("Images", f"RGB, {prior.height} × {prior.width} pixels"),
        ("Parameters", f"{weights:,}, 16 bits each on disk"),
        ("Trained on", f"{prior.trained_on['count']:,} images (`{str(prior.trained_on['images'])[:12]}`)"),
        ("Steps", _steps(prior, recipe, processes)),
        ("Licence", prior.licence),
    )
    return "\n".join(
        [
            f"# {prior.name}",
            "",
            f"A prior: a generator that turns codes of a layer of {prior.network} back into images. "
            "Its images resemble those it was trained on.",
            "",
            *_table([("", ""), *about]),
            "",
            "## Errors",
            "",
            *_table(error_table(errors)),
            "",
            _ABOUT_ERRORS.format(count=measured),
            "",
            *([f"Before the training: {probe}.", ""] if probe else []),
            "## Recipe",
            "",
            *_table([("", ""), *((f"`{name}`", text) for name, text in recipe_numbers(recipe))]),
            "",
        ]
    )


def _steps(prior: Prior, recipe: PriorRecipe, processes: int) -> str:
    """Number of steps, images in a step, and the prior that the training began with."""
    begin, until = prior.trained_on.get("begin"), prior.trained_on.get("until")
    steps = f"{recipe.steps:,}" if until is None else f"{until:,} of {recipe.steps:,}, each"
    begun = f"; begins with {begin['name']} (`{begin['digest'][:12]}`)" if begin else ""  # type: ignore[index]
    return f"{steps} of {recipe.batch * processes} images{begun}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return [head, f"|{' --- |' * len(rows[0])}", *body]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "as the code" if value is None else str(value)
