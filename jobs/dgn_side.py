"""The learned priors of a run: opening them, and what is asked of them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobs.console import compose_config, groups
from jobs.request import Request, read_model
from jobs.run import Run
from pipeline.card import NetworkCard
from pipeline.combinations import select_combination
from pipeline.errors import SettingsError, nearest
from pipeline.plan import Plan
from pipeline.search_cuts import combination_tasks, dgn_tasks, prior_tasks
from pipeline.search_records import SearchRecord
from pipeline.units import select_units


@dataclass(frozen=True)
class Priors:
    """The open priors of a run, in the order in which they are asked for. start_codes : digest → code (entry,)."""

    opened: tuple = ()
    searches: tuple[SearchRecord, ...] = ()
    start_codes: Mapping[str, object] = field(default_factory=dict)

    def by_digest(self) -> dict[str, object]:
        return {prior.digest: prior for prior in self.opened}


def open_priors(request: Request, network: object, card: NetworkCard) -> Priors:
    """The priors that are asked for, held to the network that they are to serve.

    Raises an AtlasError for one that is missing, damaged, of another size or of other channels than the network's.
    """
    from pipeline.priors.card import prior_card
    from pipeline.priors.open import open_prior
    from pipeline.priors.prior import read_prior

    asked = request.search
    if "dgn" not in request.methods:
        return Priors()
    if not asked.priors:
        if request.methods == ("dgn",) or asked.combinations:
            what = "combinations" if asked.combinations else "methods: dgn alone"
            raise SettingsError(f"{what}: needs a prior, and {card.name} has none of its own; name one by priors=[…]")
        return Priors()
    opened = tuple(read_prior(each) if isinstance(each, Path) else open_prior(each) for each in asked.priors)
    names = [prior.name for prior in opened]
    if len(set(names)) < len(names):
        raise SettingsError(f"priors: got {', '.join(names)}, expected each name once; set prior.NAME.name=…")
    for name in asked.variants_of or ():
        if name not in names:
            raise SettingsError(
                f"dgn.variants_of: got {name!r}, not a prior of this run ({', '.join(names)}){nearest(name, names)}"
            )
    searches, codes = [], {}
    for prior in opened:
        of = prior_card(prior)
        of.check_fits(card)
        for variant, settings in asked.settings_of(prior.name).items():
            name = f"{prior.name}-{variant}" if variant else prior.name
            digest = None
            if settings.image is not None:
                code = _image_code(prior, network, Path(settings.image).expanduser())
                digest = hashlib.sha256(code.tobytes()).hexdigest()
                codes[digest] = code
            searches.append(SearchRecord(name, of, settings, digest, request.seed, request.device))
    return Priors(opened, tuple(searches), codes)


def ask(asked: Plan, request: Request, card: NetworkCard, priors: Priors) -> Plan:
    """The plan with what is asked of the priors; combinations are searched for with the first search."""
    if not priors.searches:
        return asked
    wanted = request.search
    units = select_units(card, request.units if wanted.units is None else wanted.units)
    samples = request.samples if wanted.samples is None else wanted.samples
    combinations = [
        select_combination(card, name, settings, priors.searches[0]) for name, settings in wanted.combinations.items()
    ]
    return asked.with_searches(priors.searches, units, samples, combinations)


def look(plan: Plan, run: Run, priors: Priors) -> None:
    """Search for every unit and every combination with the priors that are open; the rest of a plan stays missing."""
    there = priors.by_digest()
    combined = [task for tasks in combination_tasks(plan).values() for task in tasks]
    run.compute([task for task in prior_tasks(plan) if task.prior.digest in there])
    run.compute([task for task in (*dgn_tasks(plan), *combined) if task.search.prior.digest in there])


def say_if_none(request: Request, priors: Priors) -> None:
    """One line where pictures through priors are wanted and there is no prior."""
    if "dgn" in request.methods and not priors.opened:
        print(
            f"pictures through a learned prior are left out, for there is none for {request.model.name}; name one by "
            f"priors=[…]",
            file=sys.stderr,
        )


def _image_code(prior: object, network: object, path: Path) -> object:
    """The code of an image file, by the network that the prior inverts: the atlas's own, or an option of conf/model."""
    from pipeline.nets.open_network import open_network
    from pipeline.priors.encoding import file_code

    own = network.digest == prior.network_digest or (not prior.network_digest and network.name == prior.network)
    if own:
        return file_code(prior, network, path)
    options: Sequence[str] = groups()["model"]
    if prior.network not in options:
        raise SettingsError(
            f"dgn.image: prior {prior.name} inverts {prior.network}, which is no option of conf/model"
            f"{nearest(prior.network, options)}; start otherwise by dgn.start=noise"
        )
    encoder = open_network(read_model(compose_config("layers", [f"model={prior.network}"]).model))
    if prior.network_digest and encoder.digest != prior.network_digest:
        raise SettingsError(
            f"dgn.image: prior {prior.name} inverts {prior.network}@{prior.network_digest[:12]}, but the option "
            f"{prior.network} is now @{encoder.digest[:12]}; start otherwise by dgn.start=noise"
        )
    return file_code(prior, encoder, path)
