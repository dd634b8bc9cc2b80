"""Before work starts on a cluster: which of its nodes do not see the images, by their names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial

from jobs.cluster import Cluster
from jobs.outcome import Failed
from pipeline.dataset_settings import DatasetSettings
from pipeline.errors import SettingsError
from pipeline.settings import ClusterSettings


def seen_by_nodes(
    places: Callable[[], Cluster], settings: ClusterSettings, dataset: DatasetSettings | None
) -> Callable[[], Cluster]:
    """Return a function that opens the cluster and, the first time, asks every node whether it sees the dataset.

    Nodes that do not are named on the error output; their tasks go to the others. Raises SettingsError if none sees it.
    """
    asked: list[Cluster] = []

    def cluster() -> Cluster:
        opened = places()
        if settings.kind == "ray" and dataset is not None and not asked:
            asked.append(opened)
            from pipeline.data.open_source import visible

            for line in blind(opened.on_every_node(partial(visible, dataset.anywhere()))):  # type: ignore[attr-defined]
                print(line, file=sys.stderr)
        return opened

    return cluster


def blind(answers: Mapping[str, str | None | Failed]) -> list[str]:
    """A line for each node that cannot read the dataset, with its name.

    answers : node → what `visible` said there, or why the node did not answer.
    Raises SettingsError if no node can read it.
    """
    said = {node: answer.reason if isinstance(answer, Failed) else answer for node, answer in answers.items()}
    lines = [f"node {node}: {why}" for node, why in sorted(said.items()) if why is not None]
    if lines and len(lines) == len(said):
        others = f", and {len(lines) - 1} other nodes say alike" if len(lines) > 1 else ""
        raise SettingsError(f"{lines[0]}{others}")
    return lines
