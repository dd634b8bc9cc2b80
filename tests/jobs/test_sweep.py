"""A sweep from a command line: ordinary styles, scored, on a page of its own, beside whatever is there."""

from __future__ import annotations

import re
import shlex
from dataclasses import asdict
from pathlib import Path

import h5py
import pytest
from tiny_network import SMALL

import pipeline.compute
from atlas_viewer.atlas import Atlas
from atlas_viewer.format import Status
from atlas_viewer.sweep import Sweep
from atlas_viewer.validator import check
from jobs.atlas import atlas
from jobs.console import compose_config, run_job
from jobs.request import read_config, read_request, read_settings
from jobs.sweep import SweepSettings, sweep
from pipeline.errors import DefinitionError
from pipeline.methods.ascent.task import ASCENT
from pipeline.request import Request

MODEL = tuple(word for word in SMALL if word.startswith("model"))
JUDGE = (
    "model@judge=torch", "judge.name=judge", "judge.build=tiny_network:judge", "judge.labels=tiny_network:LABELS",
    "judge.size=[16,16]", "judge.class_layer=mean",
)  # fmt: skip
FEW = (
    "sweep.iterations=4", "sweep.rows.decay=[0.1,0.9]", "sweep.rows.blur_radius=[1]",
    "sweep.rows.small_norm_percentile=[50]", "sweep.rows.px_abs_benefit_percentile=[50]", "ascent.trace_points=3",
    "cluster=serial", "device=cpu", "pages=false",
)  # fmt: skip
ROWS = 6  # settings: none, two of decay, one of each other
STYLES = ("none", "decay_1", "decay_2", "blur_1", "norm_1", "contribution_1")


def run(out: Path, *overrides: str, job=sweep, config: str = "sweep", small=(*MODEL, *JUDGE, *FEW)) -> int:
    """The exit code of a job in this process."""
    with pytest.raises(SystemExit) as ended:
        run_job(job, config, "", [*small, f'out="{out}"', *overrides])
    return ended.value.code


def shards(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "shards").rglob("*.shard")}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of three draws over the classes of the tiny network; no test may change it."""
    out = tmp_path_factory.mktemp("swept") / "out"
    assert run(out, "sweep.draws.count=3", "pages=true") == 0
    return out


def test_every_setting_is_an_ordinary_style_that_says_its_place(swept):
    with h5py.File(swept / "atlas.h5") as file:
        assert check(file) == []
        styles = file["layers/fc/ascent"]
        assert sorted(styles) == sorted([*STYLES, "random_000", "random_001", "random_002"])
        assert (styles["decay_2"].attrs["sweep"], styles["decay_2"].attrs["sweep_place"]) == ("decay", 2)
        assert styles["decay_2"].attrs["decay"] == 0.9 and styles["decay_2"].attrs["blur_radius"] == 0
        assert styles["random_001"].attrs["sweep_base"] == "low_frequency"
        assert {style.attrs["max_iter"] for style in styles.values()} == {4}


def test_all_settings_begin_at_the_same_noise(swept):
    with h5py.File(swept / "atlas.h5") as file:
        starts = {tuple(style["trace"][:, 0, 0].tolist()) for style in file["layers/fc/ascent"].values()}
    assert len(starts) == 1


def test_the_network_and_the_judge_score_every_setting(swept):
    with Atlas(swept / "atlas.h5") as opened:
        found = Sweep(opened["fc"])
        assert found.judges == ("tiny", "judge") and found.judge == "judge"
        assert len(found.ranked) == ROWS + 3
        means = [setting.scores["judge"].mean for setting in found.ranked]
        assert means == sorted(means, reverse=True)


def test_the_page_is_there_and_what_is_said_at_the_end_leads_to_it(tmp_path, swept, capsys):
    assert (swept / "site" / "fc" / "sweep.html").is_file()
    assert run(swept, "sweep.draws.count=3", "pages=true") == 0  # all is there already
    said = capsys.readouterr()
    assert "best of fc by the score of judge" in said.out
    assert said.err.splitlines()[-1] == f"open {swept}/site/fc/sweep.html"


def test_more_draws_later_keep_what_is_there_and_equal_all_at_once(tmp_path, swept):
    out = tmp_path / "out"
    assert run(out, "sweep.draws.count=1") == 0
    before = shards(out)
    assert run(out, "sweep.draws.count=3") == 0
    assert {name: shards(out)[name] for name in before} == before
    assert (out / "atlas.h5").read_bytes() == (swept / "atlas.h5").read_bytes()


def test_a_sweep_lives_beside_the_styles_of_another_atlas(tmp_path):
    ordinary = {"job": atlas, "config": "atlas", "small": SMALL}
    assert run(tmp_path, "units=[fc,conv1:0-1]", **ordinary) == 0
    assert run(tmp_path, "units=[fc:0-1]", "sweep.draws.count=0") == 0
    assert run(tmp_path, "units=[fc]", "pages=true", **ordinary) == 0
    with h5py.File(tmp_path / "atlas.h5") as file:
        assert check(file) == []
        assert "sweep" not in file["layers/fc/ascent/low_frequency"].attrs
        assert "sweep" in file["layers/fc/ascent/decay_1"].attrs
        asked, places = file["settings"][()].decode().split("sweep:")
        assert "decay_1" not in asked and "decay_1: decay 1" in places
    page = (tmp_path / "site" / "fc" / "1.html").read_text()
    assert 'id="low_frequency"' in page and 'id="decay_1"' not in page and "sweep" in page


def test_a_setting_that_fails_is_a_gap_of_the_sweep_and_no_fault_of_the_unit(tmp_path, monkeypatch, capsys):
    real = pipeline.compute.compute

    def faulty(task, resources):
        if task.style.name == "decay_2":
            raise DefinitionError("broken on purpose")
        return real(task, resources)

    with monkeypatch.context() as patched:
        patched.setattr(pipeline.compute, "compute", faulty)
        assert run(tmp_path, "sweep.draws.count=0", "pages=true") == 1
    assert "failed: ascent of fc, decay_2, sample 0: broken on purpose" in capsys.readouterr().err
    with h5py.File(tmp_path / "atlas.h5") as file:
        assert check(file) == []
        assert file["layers/fc/ascent/decay_2/status"][:].tolist() == [[Status.failed]] * 3
        assert file["layers/fc/units/status"][:].tolist() == [Status.ok] * 3
    with Atlas(tmp_path / "atlas.h5") as opened:
        assert Sweep(opened["fc"]).ranked[-1].name == "decay_2"
    assert run(tmp_path, "sweep.draws.count=0", "retry_failed=true") == 0


def swept_styles(config):
    """The styles of a sweep's configuration."""
    asked = read_settings(SweepSettings, config.sweep, "sweep")
    request = Request(read_config(config, methods=("ascent",)), None, {})
    return ASCENT.swept(asked.base, asked.iterations, asked.settings(ASCENT), request)


@pytest.mark.parametrize("policy", ["constant", "progress", "progress01", "scale_free"])
def test_the_words_of_a_setting_make_the_same_style(tmp_path, policy):
    given = (f"style.sparse.policy={policy}", "style.sparse.step_end=0.125", "style.sparse.max_rate=12345678.9")
    given += ("style.sparse.rate=0.00001", "sweep.base=sparse", "style.sparse.keep=last")
    assert run(tmp_path, *given, "sweep.draws.count=4", "units=[conv1:1]") == 0
    config = compose_config("sweep", [*MODEL, *JUDGE, *FEW, *given, "sweep.draws.count=4"])
    asked = {record.name: record.style for record in swept_styles(config)}
    assert len(asked) == ROWS + 4
    late, steps = {"early_progress", "late_progress_factor"}, {"step_start", "step_end"}
    unread = {  # numbers that the policy does not look at
        "constant": {"max_rate", "desired_progress", *late, *steps},
        "progress": {"rate", *late, *steps},
        "progress01": {"rate", "desired_progress", *steps},
        "scale_free": {"rate", "max_rate", "desired_progress", *late},
    }[policy]  # fmt: skip
    with Atlas(tmp_path / "atlas.h5") as opened:
        for setting in Sweep(opened["conv1"]).settings:
            words = shlex.split(setting.override)
            (record,) = read_request(compose_config("atlas", ["experiment=null", *words])).section("ascent")
            assert record.name == f"like_{setting.name}"
            expected = asdict(asked[setting.name]) | {"name": record.name}
            got = asdict(record.style)
            assert {name: got[name] for name in got if name not in unread} == {
                name: expected[name] for name in expected if name not in unread
            }


def test_units_that_are_no_classes_have_no_score(tmp_path, capsys):
    assert run(tmp_path, "units=[conv1:1]", "sweep.draws.count=2", "pages=true") == 0
    with h5py.File(tmp_path / "atlas.h5") as file:
        assert "scores" not in file["layers/conv1"]
    assert "best of" not in capsys.readouterr().out
    assert "in the order of their draws" in (tmp_path / "site" / "conv1" / "sweep.html").read_text()


def test_a_judge_without_the_classes_is_left_out_before_the_work(tmp_path, capsys):
    assert run(tmp_path, "judge.labels=null", "sweep.draws.count=0") == 0
    said = capsys.readouterr()
    assert said.err.startswith("only the score of tiny itself is reported; judge judge: shares no class name")
    assert "best of fc by the score of tiny" in said.out


def test_a_dry_run_counts_the_settings_on_one_line_and_writes_nothing(tmp_path, capsys):
    out = tmp_path / "new"
    assert run(out, "sweep.draws.count=3", "plan=true", "sweep.units=2") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("fc"))
    assert line.split()[1:6] == ["sweep", "of", "9", "2", "18"]
    assert not out.exists()


def test_other_strengths_in_the_same_folder_are_refused(tmp_path, swept, capsys):
    assert run(swept, "sweep.rows.decay=[0.2,0.9]") == 2
    said = capsys.readouterr().err
    assert "style decay_1: the atlas has it with other numbers (style.decay: 0.1, now 0.2)" in said
    assert said.endswith("; choose another folder with OUT=…\n")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sweep.base=low_freqency", "sweep.base: got 'low_freqency', expected one of .*nearest: low_frequency"),
        ("sweep.rows.decay=[0.1,1]", "sweep.rows.decay: got"),
        ("sweep.draws.blur_every=[1.5,3]", "sweep.draws.blur_every: got 1.5, expected a whole number"),
        ("sweep.draws.cuont=3", "setting sweep.draws.cuont: not known .nearest: sweep.draws.count"),
        ("sweep.units=0", "sweep.units: got 0, expected 1 or more"),
        ("units=[fc9]", "layer fc9: not in network tiny"),
        ("judge.name=tiny", "judge.name: got tiny, which is the network's own"),
    ],
)
def test_a_slip_ends_with_one_line(tmp_path, capsys, override, said):
    assert run(tmp_path / "out", override) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(said, error), error
    assert not (tmp_path / "out").exists()
