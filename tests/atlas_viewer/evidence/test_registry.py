"""The registry: every kind of evidence keeps the protocol, and has a way in from an atlas or a layer."""

from __future__ import annotations

import h5py
import pytest

from atlas_viewer.atlas import Atlas
from atlas_viewer.evidence.combinations import Combinations
from atlas_viewer.evidence.dataset import Dataset
from atlas_viewer.evidence.dgn import Run
from atlas_viewer.evidence.memorisation import Memorisation
from atlas_viewer.evidence.registry import EVIDENCE, GROUPS
from atlas_viewer.evidence.scores import Scores
from atlas_viewer.evidence.tops import Tops
from atlas_viewer.format import SCHEMA


@pytest.mark.parametrize("evidence", EVIDENCE, ids=lambda evidence: evidence.__name__.rsplit(".", 1)[1])
def test_evidence_keeps_the_protocol(evidence, generated_atlas):
    assert all(group in SCHEMA for group in evidence.GROUPS)
    with h5py.File(generated_atlas) as file:
        assert list(evidence.faults(file)) == []
        assert all(any(group.within(file)) for group in evidence.GROUPS)


def test_no_group_is_in_the_schema_twice():
    assert len({group.path for group in SCHEMA}) == len(SCHEMA) == len(GROUPS) + 7


def test_readers_find_their_own_groups(generated_atlas):
    with Atlas(generated_atlas) as atlas:
        layer = atlas["fc8"]
        assert {scores.pictures for scores in Scores.of(layer)} == {"ascent/sparse", "dgn/toy"}
        assert set(Run.of(layer)) == {"toy", "toy-unbounded", "toy <conv>"}
        assert tuple(Tops.of(layer)) == ("largest", "quantile", "smallest", "class")
        assert Dataset.of(atlas).name == "odd <photos>"
        assert set(Combinations.of(atlas)) == {"pairs", "pairs-unbalanced"} and set(Memorisation.of(atlas)) == {"toy"}
