"""Tasks in bf16 compute the same pictures to a few digits, and what they store is measured in float32."""

from __future__ import annotations

from dataclasses import replace

import golden
import numpy as np
import pytest
import torch
from cards import ASCENT, DEVICE, STYLE
from tiny_prior import network

from atlas_viewer.evidence.dgn import RUN
from pipeline import resources
from pipeline.compute import compute
from pipeline.errors import EnvironmentFault
from pipeline.methods.ascent.settings import StyleRecord
from pipeline.methods.ascent.task import AscentTask
from pipeline.methods.dgn.adapter import Adapter
from pipeline.methods.dgn.settings import RunRecord
from pipeline.methods.dgn.task import DgnTask
from pipeline.nets.cone import layer_cone
from pipeline.resources import Resources
from pipeline.store.shard import Shard


@pytest.fixture
def able(monkeypatch):
    """Take this CPU for one that computes in bf16; torch computes so on any, if slowly."""
    monkeypatch.setattr(resources, "computes_bf16", lambda kind, fast: True)


@pytest.fixture
def given():
    prior = golden._prior()
    return Resources(network(), None, {prior.digest: prior})


def tasks(given: Resources) -> tuple[AscentTask, DgnTask]:
    model = given.network.digest
    run = RunRecord("golden", golden._card(golden._prior()), golden._run_settings(), None, 0, DEVICE)
    return (
        AscentTask(model, "fc", (0, 1, 2), (0,), StyleRecord(STYLE, ASCENT, 0, DEVICE), 4, 1.0),
        DgnTask(model, "fc", (((1, 1.0),), ((2, 1.0), (4, 0.5))), (0,), run, 0.5, 2, 1.0),
    )


@pytest.mark.parametrize("place", [0, 1])
def test_a_task_in_bf16_reaches_what_one_in_float32_does(able, given, place):
    task = tasks(given)[place]
    lowered = replace(task, precision="bf16")
    assert lowered.id != task.id and lowered.record() == {**task.record(), "precision": "bf16"}
    full, half = (Shard(compute(one, given), "here") for one in (task, lowered))
    assert half.names == full.names
    np.testing.assert_array_equal(half.array("status"), full.array("status"))
    np.testing.assert_allclose(half.array("activation"), full.array("activation"), rtol=0.1, atol=0.1)
    assert not np.array_equal(half.array("trace"), full.array("trace"))


def test_a_picture_from_a_climb_in_bf16_is_the_generators_picture_of_its_code_in_float32(able, given):
    shard = Shard(compute(replace(tasks(given)[1], precision="bf16"), given), "here")
    cone = layer_cone(given.network, "fc", "window")
    draw = Adapter(golden._prior(), given.network.preprocessing, cone.window, torch.device("cpu"), torch.float32)
    code = RUN["code"].decode(shard.chunk("code", 0), (1, 1, golden.ENTRIES))
    image = draw(torch.from_numpy(code[0]))
    value = cone.values(image)[0, 1].item()
    assert value == pytest.approx(float(shard.array("activation_float")[0, 0]), rel=1e-5)


@pytest.mark.parametrize("place", [0, 1])
def test_a_machine_without_bf16_is_at_fault_and_not_the_task(monkeypatch, given, place):
    monkeypatch.setattr(resources, "computes_bf16", lambda kind, fast: False)
    with pytest.raises(EnvironmentFault, match="^precision: the task climbs in bf16, and this machine lacks"):
        compute(replace(tasks(given)[place], precision="bf16"), given)
