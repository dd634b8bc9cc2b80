"""What people are told of a prior that was trained here: its numbers, its errors beside trivial answers, its recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from pipeline.priors.prior import Prior
from pipeline.training.prior_recipe import PriorRecipe
from pipeline.training.reconstructions import Errors

_ABOUT_ERRORS = (
    "Over {count} held-out images, of the weights as stored. Pixel: mean square, levels from 0 to 1. Code: square of "
    "the code's difference as a share of its distance to the mean code. Layers, after their ReLU: square of the "
    "difference as a share of the values'. The mean image and a blurred copy of the image itself cost nothing to make. "
    "Shared: root mean square of the images' mean difference, levels from 0 to 255, some of it chance: marks at the "
    "same places of all images, which no grid need be. "
    "Grid: power at the axis frequencies of a period over their neighbours', in dB; what counts is how far it is above "
    "that of the images themselves."
)


def error_table(errors: Mapping[str, Errors]) -> tuple[tuple[str, ...], ...]:
    """The errors as rows of text, a head first; layers' as shares of the values' energy, grids in dB.

    An image itself has no errors, only a grid to hold the others' against.
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


def _course(prior: Prior, recipe: PriorRecipe, processes: int) -> str:
    """How many steps of how many images; what it began with."""
    begin, until = prior.trained_on.get("begin"), prior.trained_on.get("until")
    steps = f"{recipe.steps:,}" if until is None else f"{until:,} of {recipe.steps:,}, each"
    begun = f"; begins with {begin['name']} (`{begin['digest'][:12]}`)" if begin else ""  # type: ignore[index]
    return f"{steps} of {recipe.batch * processes} images{begun}"


def recipe_numbers(recipe: PriorRecipe) -> tuple[tuple[str, str], ...]:
    """Name and text of everything in a recipe."""
    return tuple((name, _spoken(value)) for name, value in asdict(recipe).items())


def card_text(
    prior: Prior, recipe: PriorRecipe, errors: Mapping[str, Errors], known: str, measured: int, processes: int
) -> str:
    """The card, as Markdown. known : what the code tells, in words. measured : held-out images. processes : that
    trained it together."""
    shape = " × ".join(map(str, prior.code_shape))
    weights = sum(value.numel() for value in prior.generator.parameters())
    about = (
        ("Inverts", f"{prior.network} (`{prior.network_digest[:12]}`)"),
        ("Code", f"`{prior.code_layer}` after its ReLU, {shape}"),
        ("Images", f"RGB, {prior.height} × {prior.width} pixels"),
        ("Parameters", f"{weights:,}, 16 bits each on disk"),
        ("Trained on", f"{prior.trained_on['count']:,} images (`{str(prior.trained_on['images'])[:12]}`)"),
        ("Steps", _course(prior, recipe, processes)),
        ("Licence", prior.licence),
    )
    return "\n".join(
        [
            f"# {prior.name}",
            "",
            f"A prior: a generator that turns codes of a layer of {prior.network} back into images. It can only draw "
            "what it has seen.",
            "",
            *_table([("", ""), *about]),
            "",
            "## Errors",
            "",
            *_table(error_table(errors)),
            "",
            _ABOUT_ERRORS.format(count=measured),
            "",
            *([f"Before the training: {known}.", ""] if known else []),
            "## Recipe",
            "",
            *_table([("", ""), *((f"`{name}`", text) for name, text in recipe_numbers(recipe))]),
            "",
        ]
    )


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return [head, f"|{' --- |' * len(rows[0])}", *body]


def _spoken(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "as the code" if value is None else str(value)
