"""The card of a prior: its network, its training data, the distribution of its codes, and its runs in this atlas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from atlas_viewer.evidence.priors import PriorCard
from atlas_viewer.format import group_names
from atlas_viewer.site import captions, code_plot, markdown
from atlas_viewer.site.outline import COMPARISON, PRIORS, Link, Outline, render, safe
from atlas_viewer.site.pieces import Page

BOUND = 3  # deviations: the authors' bound
LONG, BRIEF = 160, 60  # characters: a longer fact is folded away; those that remain of it


class PriorPages(Page):
    """The card of each prior."""

    order = 80
    top = (PRIORS,)

    def write(self, outline: Outline, site: Path) -> None:
        """Write a page for each prior."""
        names = group_names(outline.atlas.priors)
        if names:
            (site / PRIORS).mkdir(parents=True, exist_ok=True)
        for prior, card in outline.atlas.priors.items():
            (site / PRIORS / f"{safe(names[prior])}.html").write_text(_page(outline, card), encoding="utf-8")

    def links(self, outline: Outline) -> Iterator[tuple[Link, str]]:
        """Yield the link to the card of each prior."""
        for prior, card in outline.atlas.priors.items():
            about = (
                f"The learned prior’s card. It draws images from values of {card.network}’s layer {card.code_layer}."
            )
            yield Link(outline.prior_link(prior, root="").href, f"Prior {prior}"), about


def _page(outline: Outline, card: PriorCard) -> str:
    atlas = outline.atlas
    used = {name: len(runs) for name, runs in outline.shown_runs.items() if runs[0].prior == card.name}
    same_network = card.network_digest and card.network_digest == atlas.digest
    return render(
        "prior.html",
        root="../",
        model=atlas.model,
        title=f"Prior {card.name}",
        cited=atlas.cited,
        citation=f"{card.name}@{card.digest[:12]}",
        card=card,
        text=markdown.html(_without_title(card)),
        facts=_facts(card, bool(same_network)),
        plot=code_plot.spread(card.mean, card.deviation, BOUND),
        bound=BOUND,
        about=_about_codes(card),
        used=sorted(used.items()),
        compared=Link(f"../{COMPARISON}", "runs compared"),
        counted=captions.count,
    )


def _without_title(card: PriorCard) -> str:
    """The card without its first heading, because the page has one."""
    first, _, rest = card.card.lstrip().partition("\n")
    return rest if first.startswith("# ") else card.card


def _facts(card: PriorCard, same_network: bool) -> tuple[tuple[str, str, str], ...]:
    """Names and texts of the facts, and what a long text is folded under, "" for the others."""
    shape = " × ".join(map(str, card.code_shape))
    facts = [
        ("Inverts", f"{card.network}{', the network of this atlas' if same_network else ''}"),
        ("Code layer", card.code_layer),
        ("Code", f"{shape} entries" if len(card.code_shape) == 1 else f"{shape} (channels, rows, columns)"),
        ("Images", f"{captions.pair(card.size)} pixels"),
        ("Trained on", card.trained_on),
        ("Licence", card.licence),
    ]
    more = ((name.replace("_", " ").capitalize(), captions.setting(value)) for name, value in card.numbers.items())
    return tuple((name, text, _brief(text) if len(text) > LONG else "") for name, text in (*facts, *more))


def _brief(text: str) -> str:
    """A long text in a few words: the number of images where it is a record of a training, else how it begins."""
    images = re.search(r"\bcount: (\d+)", text)
    return captions.count(int(images[1]), "image") if images else f"{text[:BRIEF].rstrip()}…"


def _about_codes(card: PriorCard) -> tuple[tuple[str, str], ...]:
    """The numbers under the plot, means over the entries."""
    mean, deviation = card.mean.astype(np.float64), card.deviation.astype(np.float64)
    still = int((deviation == 0).sum())
    facts = [("Entries", captions.thousands(len(mean)))]
    if not len(mean):
        return tuple(facts)
    facts.append(("Mean", captions.number(float(mean.mean()))))
    for times in range(1, BOUND + 1):
        facts.append((f"Mean + {times}σ", captions.number(float((mean + times * deviation).mean()))))
    facts.append(("Never vary", captions.count(still, "entry")))
    return tuple(facts)
