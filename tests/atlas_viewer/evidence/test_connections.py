"""Connections as they are read, and the contradictions in them that a check finds."""

from __future__ import annotations

import pytest

from atlas_viewer.atlas import Atlas
from atlas_viewer.validator import check


def test_a_layer_has_the_connections_with_each_layer(mined_atlas):
    with Atlas(mined_atlas) as atlas:
        (incoming,), (outgoing,) = atlas["fc8"].connections, atlas["mixed/3a"].connections
        assert (incoming.other, incoming.is_incoming, outgoing.is_incoming) == ("mixed/3a", True, False)
        assert incoming.linked[0].tolist() == [5, 2, 4, -1]
        assert incoming.strength[0, 1] == -2 and incoming.weight[0, 1] == pytest.approx(-0.2)
        assert incoming.meaning == "weight × <mean>"
        assert atlas["conv1"].connections == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda group: group.attrs.modify("other", "conv9"), "layer 'conv9' is not in the layer table"),
        (lambda group: group.attrs.modify("direction", "up"), "attribute direction is 'up'"),
        (lambda group: group["linked"].__setitem__((0, 0), 8), "a unit that layer 'mixed/3a' does not have"),
    ],
)
def test_connections_with_nothing_are_contradictions(damaged, change, said):
    file = damaged(lambda file: change(file["layers/fc8/connections/mixed.3a"]), mined=True)
    assert any(said in fault for fault in check(file))
