"""What learned priors add to the made-up atlas: two priors, runs, pairs with and without balance, memorisation."""

from __future__ import annotations

import h5py
import numpy as np

from atlas_viewer import format
from atlas_viewer.evidence.combinations import COMBINATION
from atlas_viewer.evidence.dgn import RUN
from atlas_viewer.evidence.interpretability import INTERPRETABILITY
from atlas_viewer.evidence.memorisation import MEMORISATION
from atlas_viewer.evidence.priors import PRIOR
from atlas_viewer.evidence.scores import SCORES
from atlas_viewer.field import write_picture

CODE = 7  # entries of a code
PRIORS = ("toy", "toy <conv>")
RUNS = {"toy": ("toy", 2), "toy-unbounded": ("toy", 1), "toy <conv>": ("toy <conv>", 1)}  # prior, samples
PAIRS = ((0, 1), (2, 5), (4, 3))
ACTIVATIONS = {"pairs": (30.0, 24.0), "pairs-unbalanced": (40.0, 4.0)}  # of the first unit, and of the second
SPACES = ("pixels", "conv1", "fc8")
CARD = """# Prior `toy`

Draws *toys* from codes. It was <b>never</b> [trained](https://example.org).

| measure | value |
| --- | ---: |
| error | 0.25 |

- one
- two
"""


def write_run(file: h5py.File, key: str, layer: str, units: list[int], side: int) -> None:
    """The runs of a layer: two of the class layer by one prior and one by another, one of any other layer."""
    for name, (prior, samples) in RUNS.items() if layer == "fc8" else [("toy", RUNS["toy"])]:
        about = {"run": name, "row": 3, "column": 3, "cut": [int(layer == "mixed/3a"), 0, 0, 0], **by_prior(prior)}
        numbers = {"iterations": 20, "step_start": 8.0, "bounded": name != "toy-unbounded"}
        group = RUN.create(file, about | numbers, layer=key, run=format.group_name(name))
        write_arrays(group, units, samples, side, sum(map(ord, layer + name)))


def by_prior(prior: str) -> dict[str, object]:
    return {"prior": prior, "prior_digest": digest(prior), "measure": "value of <it>, before its ReLU", "seed": 7}


def digest(prior: str) -> str:
    return f"{PRIORS.index(prior)}a" * 32


def write_arrays(group: h5py.Group, index: list[int], samples: int, side: int, seed: int) -> None:
    """Smooth pictures; the last sample of the last unit is not there."""
    generator, units = np.random.default_rng(seed), len(index)
    status = np.full((units, samples), int(format.Status.ok), "u1")
    status[-1, -1] = format.Status.failed
    fine = status == format.Status.ok
    for name in ("pixels", "best_pixels"):
        field = RUN[name]
        stored, digests = (
            field.create(group, {"unit": units, "sample": samples, "y": side, "x": side}),
            fine * np.uint64(),
        )
        for at in zip(*np.nonzero(fine), strict=True):
            picture = generator.integers(0, 255, (1, 1, side, side, 3), "u1")
            digests[at] = write_picture(stored, at, field.encode(picture))
        field.write_digests(group, digests)
    activation = np.where(fine, generator.normal(60, 9, (units, samples)), np.nan)
    code = np.where(fine[..., None], generator.random((units, samples, CODE)), np.nan)
    arrays = {
        "code": code,
        "best_code": code,
        "unit": index,
        "activation": activation,
        "activation_float": activation + 0.25,
        "best_activation": activation + 2,
        "best_activation_float": activation + 2.25,
        "best_step": np.where(fine, 15, -1),
        "code_norm": np.linalg.norm(code, axis=-1),
        "status": status,
        "reason": ["the <code> overflowed" if failed else "" for failed in (~fine).any(axis=1)],
        "trace": np.where(fine[:, :, None], np.linspace(-1, 60, 5), np.nan),
        "trace_step": (0, 5, 10, 15, 19),
    }
    for name, values in arrays.items():
        RUN[name].write(group, values)


def write_generated(file: h5py.File, key: str, labels: tuple[str, ...]) -> None:
    """What belongs to no layer, and a judge's view of one run of the class layer."""
    for prior in PRIORS:
        about = {"prior": prior, "digest": digest(prior), "network": "doodlenet", "network_digest": "", "height": 32}
        about |= {"width": 32, "code_layer": "conv1", "code_shape": [CODE], "trained_on": "drawings", "licence": "MIT"}
        group = PRIOR.create(file, about, name=format.group_name(prior))
        for name, values in {"card": CARD, "mean": np.arange(CODE), "deviation": np.ones(CODE)}.items():
            PRIOR[name].write(group, values)
    for name in ACTIVATIONS:
        write_pairs(file, name, labels)
    write_memorisation(file)
    rates = {"pictures": "dgn/toy", "top1_rate": 0.75, "top5_rate": 1.0}
    group = SCORES.create(file, rates, layer=key, judge="squeeze", setting="toy")
    units, samples = len(labels), RUNS["toy"][1]
    SCORES["unit"].write(group, range(units))
    SCORES["target"].write(group, range(units))
    SCORES["top1"].write(group, np.arange(units)[:, None] + np.zeros((1, samples), int))
    SCORES["target_probability"].write(group, np.full((units, samples), 0.875))
    SCORES["target_rank"].write(group, np.zeros((units, samples)))


def write_interpretability(file: h5py.File, key: str, units: list[int], paths: tuple[str, ...]) -> None:
    """A judge's scores by natural patches, noise and stored pictures; the last unit does not vary."""
    about = {"judge": "squeeze", "judge_digest": "b" * 64, "embedding": "<fire9>", "images": 11, "trials": 20}
    about |= {"shown": 9, "temperature": 0.16, "seed": 0, "asked": "c" * 64, "revision": 1}
    group = INTERPRETABILITY.create(file, about, layer=key, judge="squeeze")
    pictures = ("natural", "natural_both", "noise", *paths)
    score = np.linspace(0.9, 0.5, len(pictures)) - 0.01 * np.arange(len(units))[:, None]
    score[-1] = np.nan
    INTERPRETABILITY["pictures"].write(group, pictures)
    INTERPRETABILITY["unit"].write(group, units)
    INTERPRETABILITY["score"].write(group, score)
    INTERPRETABILITY["accuracy"].write(group, np.where(np.isnan(score), np.nan, 0.75))


def write_pairs(file: h5py.File, name: str, labels: tuple[str, ...]) -> None:
    about = {"name": name, "layer": "fc8", "balance": 0.5 if name == "pairs" else 0.0, **by_prior("toy")}
    group = COMBINATION.create(file, about, name=name)
    count, samples, side = len(PAIRS), 1, 24
    field, generator = COMBINATION["pixels"], np.random.default_rng(len(name))
    stored = field.create(group, {"item": count, "sample": samples, "y": side, "x": side})
    digests = np.zeros((count, samples), "u8")
    for item in range(count):
        picture = generator.integers(0, 255, (1, samples, side, side, 3), "u1")
        digests[item, 0] = write_picture(stored, (item, 0), field.encode(picture))
    field.write_digests(group, digests)
    arrays = {
        "code": generator.random((count, samples, CODE)),
        "member_unit": PAIRS,
        "member_label": [[labels[unit] for unit in pair] for pair in PAIRS],
        "member_weight": np.ones((count, 2)),
        "member_activation": np.tile(np.array(ACTIVATIONS[name]), (count, samples, 1)),
        "status": np.full((count, samples), int(format.Status.ok)),
    }
    for field_name, values in arrays.items():
        COMBINATION[field_name].write(group, values)


def write_memorisation(file: h5py.File) -> None:
    """The second unit has no images of its class."""
    about = {"run": "toy", "pictures": "e" * 64, "layer": "fc8"}
    group = MEMORISATION.create(file, about, run="toy")
    units, samples, spaces = 3, RUNS["toy"][1], len(SPACES)
    nearest = np.arange(units * samples * spaces).reshape(units, samples, spaces) % 16
    nearest[1] = -1
    distance = np.where(nearest >= 0, 10.0 + nearest, np.nan)
    arrays = {
        "space": SPACES,
        "unit": range(units),
        "images": (4, 0, 3),
        "nearest": nearest,
        "distance": distance,
        "typical": np.where(np.array([True, False, True])[:, None], np.full((units, spaces), 12.0), np.nan),
    }
    for name, values in arrays.items():
        MEMORISATION[name].write(group, values)
