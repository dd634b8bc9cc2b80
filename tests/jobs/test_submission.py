"""Jobs that are sent to a cluster: what is refused before they are sent, and what reaches them unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.console import compose_config
from jobs.request import read_out
from jobs.submission import hydra_text, read_submission
from pipeline.errors import SettingsError


def test_options_job_and_overrides_are_told_apart():
    asked = read_submission(["--nodes=4", "sweep", "model=doodlenet", "-t10", "out=/data/a"], elsewhere=False)
    assert (asked.job, asked.options) == ("sweep", ("--nodes=4", "-t10"))
    assert asked.overrides == ("cluster=ray", "model=doodlenet", 'out="/data/a"')


def test_a_relative_folder_is_in_that_of_the_machine_that_sends(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_submission([], elsewhere=False).out == tmp_path / "atlases" / "doodlenet"


def test_a_folder_is_the_same_when_the_job_reads_it():
    out = '/d/a "b" it\'s $HOME `id`, (1)=[x]\n%j'
    asked = read_submission([f"out={hydra_text(out)}"], elsewhere=True)
    assert asked.out == Path(out)
    assert read_out(compose_config("atlas", asked.overrides)) == Path(out)


@pytest.mark.parametrize(
    ("arguments", "elsewhere", "said"),
    [
        (["atlsa"], False, "atlsa: no job for a cluster (nearest: atlas)"),
        (["-N", "4"], False, "4: no job for a cluster"),
        (["cluster=local"], False, "cluster=local: the job runs on all nodes that it is given"),
        (["cluster.address=head:6379"], False, "the job runs on the cluster that it is sent to"),
        (["out=atlases/a"], True, "out: atlases/a is relative; name a folder of the cluster's first machine"),
        (["out=/a", "dataset=folder", "dataset.root=photos"], True, "dataset.root: photos is relative"),
    ],
)
def test_what_cannot_be_sent(arguments, elsewhere, said, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError) as refused:
        read_submission(arguments, elsewhere=elsewhere)
    assert said in str(refused.value)
