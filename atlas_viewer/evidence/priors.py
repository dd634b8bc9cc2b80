"""Priors: the card of each generator, the layer whose codes it inverts, and the statistics of its codes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import h5py
import numpy as np

from atlas_viewer.evidence.climb import numbers
from atlas_viewer.field import CODE_AXIS, Attribute, Field, Group, subgroups

if TYPE_CHECKING:
    from atlas_viewer.atlas import Atlas

PRIOR = Group(
    "/priors/<name>",
    "a prior: a generator trained to turn codes of a layer back into images",
    (
        Attribute("prior", "text", "original name of the prior"),
        Attribute("digest", "text", "SHA-256 of its generator and code statistics, in hexadecimal"),
        Attribute("network", "text", "name of the network whose codes it inverts"),
        Attribute("network_digest", "text", "SHA-256 of that network; empty where it is not known"),
        Attribute("code_layer", "text", "layer whose values are its codes"),
        Attribute("code_shape", "int[]", "shape of a code: one number, or channels, rows, columns"),
        Attribute("height", "int", "height of its images in pixels"),
        Attribute("width", "int", "width of its images in pixels"),
        Attribute("trained_on", "text", "what it was trained on"),
        Attribute("licence", "text", "its licence"),
    ),
    (
        Field("card", "text", (), "its card, Markdown"),
        Field("mean", "f4", (CODE_AXIS,), "mean of each entry of a code over real images", "code"),
        Field("deviation", "f4", (CODE_AXIS,), "standard deviation of each entry over real images", "code"),
    ),
    open=True,
    required=False,
)  # fmt: skip
GROUPS = (PRIOR,)


@dataclass(frozen=True)
class PriorCard:
    """One prior of an open atlas, without its generator."""

    group: h5py.Group

    @classmethod
    def of(cls, atlas: Atlas) -> dict[str, PriorCard]:
        """The priors of an atlas by original name."""
        return {card.name: card for card in map(cls, subgroups(atlas.file, "priors"))}

    @property
    def name(self) -> str:
        """The prior's original name."""
        return str(self.group.attrs["prior"])

    @property
    def digest(self) -> str:
        """SHA-256 of its generator and code statistics, in hexadecimal."""
        return str(self.group.attrs["digest"])

    @property
    def network(self) -> str:
        """Name of the network whose codes it inverts."""
        return str(self.group.attrs["network"])

    @property
    def network_digest(self) -> str:
        """SHA-256 of that network; empty where it is not known."""
        return str(self.group.attrs["network_digest"])

    @property
    def code_layer(self) -> str:
        """The layer whose values are its codes."""
        return str(self.group.attrs["code_layer"])

    @property
    def code_shape(self) -> tuple[int, ...]:
        """One number, or channels, rows, columns."""
        return tuple(np.asarray(self.group.attrs["code_shape"]).tolist())

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its images in pixels."""
        return int(self.group.attrs["height"]), int(self.group.attrs["width"])

    @property
    def trained_on(self) -> str:
        """What it was trained on."""
        return str(self.group.attrs["trained_on"])

    @property
    def licence(self) -> str:
        """Its licence."""
        return str(self.group.attrs["licence"])

    @cached_property
    def card(self) -> str:
        """Its card, Markdown."""
        return str(self.group["card"].asstr()[()])

    @cached_property
    def mean(self) -> np.ndarray:
        """(code,) mean of each entry over real images."""
        return self.group["mean"][...]

    @cached_property
    def deviation(self) -> np.ndarray:
        """(code,) standard deviation of each entry over real images."""
        return self.group["deviation"][...]

    @cached_property
    def numbers(self) -> dict[str, str | int | float | bool]:
        """Its further attributes by name."""
        return numbers(self.group, PRIOR)


def faults(file: h5py.File) -> Iterator[str]:
    """Contradictions inside the priors of an open file."""
    for prior in PRIOR.within(file):
        entries = math.prod(np.asarray(prior.attrs["code_shape"]).tolist())
        if len(prior["mean"]) != entries:
            yield f"{prior.name}/mean: {len(prior['mean'])} entries, expected {entries} as in code_shape"


def code_faults(file: h5py.File, group: h5py.Group) -> Iterator[str]:
    """Contradictions between a group of pictures and its prior; a prior that is not stored yet contradicts nothing."""
    named = {prior.attrs["prior"]: prior for prior in PRIOR.within(file)}
    prior = named.get(group.attrs["prior"])
    if prior is None:
        return
    if prior.attrs["digest"] != group.attrs["prior_digest"]:
        yield f": attribute prior_digest is not the digest of {prior.name}"
    elif group["code"].shape[-1] != len(prior["mean"]):
        yield f"/code: {group['code'].shape[-1]} entries, expected {len(prior['mean'])} as in {prior.name}"
