"""Nodes that do not see the images are named before work starts."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest

from jobs.cluster import open_cluster
from jobs.console import compose_config
from jobs.outcome import Failed
from jobs.request import read_cluster, read_config, read_settings
from jobs.visibility import blind, seen_by_nodes
from pipeline.dataset_settings import DatasetSettings
from pipeline.errors import SettingsError


def test_nodes_that_see_it_say_nothing():
    assert blind({"n1": None, "n2": None}) == []
    assert blind({}) == []


def test_a_node_that_does_not_is_named():
    answers = {"n2": "dataset.root /images: no such folder", "n1": None, "n3": Failed("no answer", "")}
    assert blind(answers) == ["node n2: dataset.root /images: no such folder", "node n3: no answer"]


def test_a_dataset_that_no_node_sees_is_refused():
    with pytest.raises(SettingsError, match="^node n1: gone, and 1 other nodes say alike$"):
        blind({"n2": "gone too", "n1": "gone"})


@dataclass
class Nodes:
    """A cluster whose nodes are folders: each looks for the dataset below its own."""

    asked: int = 0

    def on_every_node(self, call):
        self.asked += 1
        return {"n1": None, "n2": call()}


def test_every_node_is_asked_once_before_the_first_task(tmp_path, capsys):
    config = compose_config("atlas", ["cluster=ray", "dataset=folder", f'dataset.root="{tmp_path}/none"'])
    dataset = read_settings(DatasetSettings, config.dataset, "dataset")
    nodes = Nodes()
    opened = seen_by_nodes(lambda: nodes, config.cluster, dataset)
    assert nodes.asked == 0
    assert opened() is opened() is nodes
    assert nodes.asked == 1
    said = capsys.readouterr().err
    assert said.startswith(f"node n2: dataset.root {tmp_path}/none: ") and said.count("\n") == 1
    config.cluster.kind = "local"  # one machine: the job itself has opened the images
    seen_by_nodes(lambda: nodes, config.cluster, dataset)()
    assert nodes.asked == 1


def host() -> str:
    """The name of the machine that calls this."""
    return os.uname().nodename


def broken() -> None:
    raise OSError("gone")


@pytest.mark.slow
def test_every_node_of_a_real_cluster_answers():
    config = compose_config("atlas", ["cluster=local", "cluster.workers=1", "device=cpu"])
    cluster = open_cluster(read_cluster(config), read_config(config).device)
    try:
        assert list(cluster.on_every_node(host).values()) == [os.uname().nodename]
        (answer,) = cluster.on_every_node(broken).values()
        assert isinstance(answer, Failed) and "gone" in answer.detail
    finally:
        cluster.close()
