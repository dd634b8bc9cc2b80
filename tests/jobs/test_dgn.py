"""Pictures through a prior, from a command line: same bytes, resumed, asked for more, refused with one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from caffe_prior import ENTRIES, overrides, write_caffe_prior
from folder_prior import write_untrained
from PIL import Image
from tiny_network import SMALL

from atlas_viewer.atlas import Atlas
from atlas_viewer.validator import check
from jobs.atlas import atlas
from jobs.console import compose_config, run_job
from jobs.folder import read_plan
from jobs.request import read_model, read_request
from jobs.score import score
from pipeline.errors import AtlasError, MissingError, OutputError
from pipeline.methods import registry
from pipeline.methods.dgn.adapter import Adapter
from pipeline.methods.dgn.settings import RunRecord
from pipeline.nets.cone import Cone
from pipeline.nets.open_network import open_network
from pipeline.priors.open import open_prior
from pipeline.records import of_record

QUICK = ("methods=[dgn]", "dgn.iterations=6", "dgn.trace_points=3", "dgn.step_start=0.5")
SETS = "combinations={pairs:{random:3,samples:2},free:{random:3,balance:0},some:{units:[round+2*striped,square]}}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prior")
    write_caffe_prior(folder)
    return folder


@pytest.fixture(scope="module")
def make(folder):
    """Makes an atlas of the tiny network with the tiny prior."""

    def make(out: Path, *more: str) -> int:
        return atlas(compose_config("atlas", [*SMALL, *QUICK, *overrides(folder), f'out="{out}"', *more]))

    return make


@pytest.fixture(scope="module")
def searched(tmp_path_factory, make) -> Path:
    """An atlas with a search, a variant and combinations."""
    out = tmp_path_factory.mktemp("searched") / "out"
    assert make(out, "+dgn.variants.free.sigmas=null", SETS) == 0
    return out


def shards(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "shards").rglob("*.shard")}


def test_the_file_is_sound_and_has_what_was_asked_for(searched):
    with h5py.File(searched / "atlas.h5") as file:
        assert check(file) == []
        for layer, units, (height, width) in (("conv1", 4, (3, 3)), ("conv2", 5, (7, 7)), ("fc", 3, (15, 15))):
            group = file[f"layers/{layer}/dgn"]
            assert list(group) == ["deepsim_fc6", "deepsim_fc6-free"]
            for run in group.values():
                assert run["pixels"].shape == (units, 2, height, width, 3)
                assert run["code"].shape == (units, 2, ENTRIES)
                assert set(run["status"][:].ravel()) <= {1, 4}
                assert run.attrs["prior"] == "deepsim_fc6"
        assert group["deepsim_fc6"].attrs["sigmas"] == 3
        assert np.isinf(group["deepsim_fc6-free"].attrs["sigmas"])
        assert file["priors/deepsim_fc6"].attrs["code_layer"] == "fc6"
        assert list(file["combinations"]) == ["free", "pairs", "some"]
        pairs, free, some = (file[f"combinations/{name}"] for name in ("pairs", "free", "some"))
        np.testing.assert_array_equal(pairs["member_unit"], free["member_unit"])
        assert pairs["member_activation"].shape == (3, 2, 2)
        assert (pairs.attrs["balance"], free.attrs["balance"]) == (1, 0)
        assert some["member_unit"][:].tolist() == [[0, 2], [1, -1]]
        assert some["member_weight"][:].tolist() == [[1, 2], [1, 0]]
        assert some["member_label"].asstr()[0].tolist() == ["round", "striped"]


def test_codes_give_the_stored_pictures_again(searched, folder):
    request = read_request(compose_config("atlas", [*SMALL, *QUICK, *overrides(folder)]))
    network, prior = open_network(request.model), open_prior(request.section("dgn").priors[0])
    with h5py.File(searched / "atlas.h5") as file:
        for layer in ("conv1", "conv2", "fc"):
            cone, group = Cone(network, layer), file[f"layers/{layer}/dgn/deepsim_fc6"]
            adapter = Adapter(prior, network.preprocessing, cone.window, torch.device("cpu"), torch.float32)
            for code, pixels, activation in (("code", "pixels", "activation"),
                                             ("best_code", "best_pixels", "best_activation")):  # fmt: skip
                units, samples = group["status"].shape
                with torch.no_grad():
                    centred = adapter(torch.from_numpy(group[code][:]).flatten(0, 1)).numpy()
                again = network.preprocessing.pixels(centred, cone.mean)
                stored = group[pixels][:].reshape(again.shape)
                assert np.abs(again.astype(int) - stored).max() <= 1  # another size of batch may round another way
                assert (again == stored).mean() > 0.999
                shown = torch.from_numpy(network.preprocessing.centred(stored, cone.mean))
                with torch.no_grad():
                    value = cone.activations(shown, torch.arange(units).repeat_interleave(samples))
                np.testing.assert_allclose(
                    value.numpy().reshape(units, samples), group[activation], rtol=1e-4, atol=1e-4
                )


def test_workers_change_nothing(searched, make, tmp_path):
    asked = ("+dgn.variants.free.sigmas=null", SETS)
    assert make(tmp_path / "out", *asked, "cluster=local", "cluster.workers=2") == 0
    assert (tmp_path / "out" / "atlas.h5").read_bytes() == (searched / "atlas.h5").read_bytes()


def test_lost_shards_are_computed_again_and_nothing_else(searched, make):
    before, content = shards(searched), (searched / "atlas.h5").read_bytes()
    lost = sorted(before)[::4]
    for name in lost:
        next((searched / "shards").rglob(name)).unlink()
    assert make(searched, "+dgn.variants.free.sigmas=null", SETS) == 0
    after = shards(searched)
    assert {name for name in before if before[name] != after[name]} == set(lost)
    assert (searched / "atlas.h5").read_bytes() == content


def test_more_of_everything_later_equals_asking_at_once(make, tmp_path):
    late, at_once = tmp_path / "late", tmp_path / "at_once"
    assert make(late, "dgn.samples=1", "units=[conv1:0-1]") == 0
    kept = shards(late)
    more = ("+dgn.variants.free.sigmas=null", "units=[conv1,fc]", SETS)
    assert make(late, *more) == 0
    assert set(kept.items()) <= set(shards(late).items())
    assert make(at_once, *more) == 0
    assert (late / "atlas.h5").read_bytes() == (at_once / "atlas.h5").read_bytes()


def test_classes_may_have_more_pictures_than_other_units(make, tmp_path):
    assert make(tmp_path, "dgn.samples=1", "dgn.class_samples=2", "units=[conv1:0,fc:0-1]") == 0
    with h5py.File(tmp_path / "atlas.h5") as file:
        shapes = {layer: group["dgn/deepsim_fc6/status"].shape for layer, group in file["layers"].items()}
    assert shapes == {"conv1": (1, 1), "fc": (2, 2)}


def test_a_later_run_without_the_prior_keeps_its_pictures(make, folder, tmp_path):
    out = tmp_path / "out"
    assert make(out, "units=[fc]") == 0
    assert atlas(compose_config("atlas", [*SMALL, f'out="{out}"', "methods=[ascent]", "units=[fc:0]"])) == 0
    with h5py.File(out / "atlas.h5") as file:
        assert check(file) == []
        assert (file["layers/fc/dgn/deepsim_fc6/status"][:] > 0).all()


def test_a_plan_is_read_back_as_it_was_written(searched):
    plan = read_plan(searched)
    assert registry.read_plan(plan.record()).record() == plan.record()
    run = plan.settings["dgn"]["deepsim_fc6"]
    jittered = replace(run, settings=replace(run.settings, jitter=0.25))
    assert "jitter" not in run.record()["settings"]  # tasks and shards are those of before there was any
    assert of_record(RunRecord, run.record(), "run") == run
    assert of_record(RunRecord, jittered.record(), "run") == jittered
    assert plan.settings["combinations"]["pairs"].samples == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            ("dgn.iterations=7",),
            r"run deepsim_fc6: the atlas has it with other numbers \(settings.iterations: 6, now 7",
        ),
        (("dgn.jitter=0.25",), r"run deepsim_fc6: .*\(settings.jitter: None, now 0.25\)"),
        (("seed=1",), r"run deepsim_fc6: .*\(seed: 0, now 1\)"),
        (("combinations={pairs:{random:2,samples:2}}",), r"combinations pairs: .*\(other units\)"),
        (("combinations={pairs:{random:3,balance:2,samples:2}}",), r"combinations pairs: .*\(balance: 1.0, now 2.0\)"),
    ],
)
def test_the_same_name_with_other_numbers_is_refused(searched, make, more, said):
    with pytest.raises(OutputError, match=said):
        make(searched, *more)


def test_another_prior_under_the_same_name_is_refused(searched, tmp_path):
    write_caffe_prior(tmp_path / "other", seed=1)
    asked = [*SMALL, *QUICK, *overrides(tmp_path / "other"), f'out="{searched}"']
    with pytest.raises(OutputError, match="prior deepsim_fc6: the atlas has another prior of this name"):
        atlas(compose_config("atlas", asked))


def test_an_image_may_be_the_start(folder, make, tmp_path):
    """Its code is that of the network that the prior inverts; here the atlas's own, whose layer has another shape."""
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (20, 30, 3)).astype(np.uint8)).save(picture)
    start = ("dgn.start=image", f'dgn.image="{picture}"', "units=[fc]", "samples=1")
    inverted = ("prior.deepsim_fc6.network=tiny", "prior.deepsim_fc6.code_layer=relu1")
    with pytest.raises(
        AtlasError, match=r"codes of shape \(6,\), but relu1 of tiny has \(4, 7, 7\); the prior is for "
    ):
        make(tmp_path / "out", *start, *inverted)
    with pytest.raises(AtlasError, match=r"dgn.image .*: cannot be read \(No such file"):
        make(tmp_path / "out", "dgn.start=image", 'dgn.image="none.png"', *inverted)
    with pytest.raises(AtlasError, match="prior deepsim_fc6 inverts nothing, which is not an option of conf/model"):
        make(tmp_path / "out", *start, "prior.deepsim_fc6.network=nothing")
    with pytest.raises(AtlasError, match=r"dgn.image: got None with dgn.start=image"):
        make(tmp_path / "out", "dgn.start=image")


def test_an_image_is_where_the_search_begins(tmp_path):
    write_caffe_prior(tmp_path / "prior", entries=3)
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (20, 30, 3)).astype(np.uint8)).save(picture)
    inverted = ["prior.deepsim_fc6.network=tiny", "prior.deepsim_fc6.code_layer=fc"]
    asked = [*SMALL, *QUICK, *overrides(tmp_path / "prior"), *inverted, "units=[fc]", "samples=1", "dgn.iterations=1",
             "dgn.start=image", f'dgn.image="{picture}"', f'out="{tmp_path / "out"}"']  # fmt: skip
    assert atlas(compose_config("atlas", asked)) == 0
    network = open_network(read_model(compose_config("atlas", asked).model))
    shown = network.preprocessing.fitted(np.asarray(Image.open(picture))[None])
    with torch.no_grad():
        code = network.run(torch.from_numpy(network.preprocessing.centred(shown)), ["fc"])["fc"].clamp(min=0)
    with h5py.File(tmp_path / "out" / "atlas.h5") as file:
        np.testing.assert_allclose(file["layers/fc/dgn/deepsim_fc6/code"][1, 0], code[0], rtol=1e-5)
        assert b"picture.png" not in (tmp_path / "out" / "atlas.h5").read_bytes()
    assert atlas(compose_config("atlas", asked)) == 0


def refused(capsys, *arguments: str) -> str:
    """The one line that a run says that is not done."""
    with pytest.raises(SystemExit) as ended:
        run_job(atlas, "atlas", "", [*SMALL, *QUICK, *arguments])
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    return said[0]


def test_bad_priors_are_refused_before_work_starts(capsys, folder, tmp_path):
    out = f'out="{tmp_path / "out"}"'
    said = refused(capsys, out, "priors=[deepsim_fc9]")
    assert "neither an option of conf/prior" in said
    assert "nearest: deepsim_fc" in said
    small = tmp_path / "small"
    write_caffe_prior(small, scale=1)
    said = refused(capsys, out, *overrides(small))
    assert "its images of 8 x 8 pixels are smaller than the input of tiny, 16 x 16" in said
    said = refused(capsys, out, *overrides(folder), "dgn.variants_of=[deepsim_fc7]")
    assert "dgn.variants_of: got 'deepsim_fc7', not a prior of this request (deepsim_fc6) (nearest: deepsim_fc6" in said
    said = refused(capsys, out, *overrides(folder), "prior.deepsim_fc6.order=L")
    assert "expected (1, rows, columns)" in said
    said = refused(capsys, out, *overrides(folder), "prior.deepsim_fc6.range_3x=null")
    assert "range_3x: missing" in said
    (tmp_path / "short.txt").write_text("1 2 3\n")
    said = refused(capsys, out, *overrides(folder), f'prior.deepsim_fc6.range_3x="{tmp_path / "short.txt"}"')
    assert "has 3 numbers, the code has 6 entries" in said
    said = refused(capsys, out, *overrides(folder), f'prior.deepsim_fc6.weights="{tmp_path / "none.caffemodel"}"')
    assert "prior.deepsim_fc6.weights" in said
    said = refused(capsys, out, f'priors=["{tmp_path / "nowhere"}"]')
    assert "nowhere" in said
    assert not (tmp_path / "out").exists()


def test_without_a_prior_one_line_says_what_is_left_out(capsys, tmp_path):
    asked = [*SMALL, "methods=[ascent,dgn]", "units=[fc]", f'out="{tmp_path / "out"}"']
    assert atlas(compose_config("atlas", asked)) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "learned prior" in line]
    assert len(lines) == 1
    assert "priors=[…]" in lines[0]
    assert "needs a prior" in refused(capsys, "methods=[dgn]")
    assert "needs a prior" in refused(capsys, "methods=[ascent,dgn]", "combinations={a:{random:1}}")


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ("a:{units:[round+rund]}", "nearest: round"),
        ("a:{units:[round+round]}", "has unit 0 twice"),
        ("a:{units:['fc:0+1','conv1:0+1']}", "layers conv1, fc, expected units of one layer"),
        ("a:{random:4}", "fc has 3 pairs; ask for fewer"),
        ("a:{}", "got no units"),
        ("a:{randm:4}", "nearest: random"),
        ("a:{units:['x*round+square']}", "is not a weight"),
    ],
)
def test_combinations_that_cannot_be_are_refused(capsys, folder, tmp_path, sets, said):
    out = f'out="{tmp_path / "out"}"'
    assert said in refused(capsys, out, *overrides(folder), f"combinations={{{sets}}}")


def test_a_prior_that_is_gone_fails_its_tasks_with_a_reason(searched):
    from pipeline.compute import compute
    from pipeline.methods.dgn.task import dgn_tasks
    from pipeline.resources import Resources

    plan = read_plan(searched)
    network = open_network(read_model(compose_config("atlas", list(SMALL)).model))
    with pytest.raises(MissingError, match="prior deepsim_fc6: not open in this run"):
        compute(dgn_tasks(plan)[0], Resources(network))


JUDGE = (
    "model=torch", "model.name=tiny", "model.build=tiny_network:tiny", "model.labels=tiny_network:LABELS",
    "model.size=[16,16]", "model@judge=torch", "judge.name=judge", "judge.build=tiny_network:judge",
    "judge.labels=tiny_network:LABELS", "judge.size=[16,16]", "judge.class_layer=mean",
)  # fmt: skip


def test_probabilities_have_the_classes_names_and_are_judged(make, tmp_path, capsys):
    out, built = tmp_path / "out", "model.build=tiny_network:tiny_with_odds"
    assert make(out, built, "units=[fc,prob:square]", "dgn.samples=1") == 0
    capsys.readouterr()
    assert score(compose_config("score", [*JUDGE, built, f'out="{out}"'])) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in table] == ["setting", "deepsim_fc6", "prob: deepsim_fc6"]
    with Atlas(out / "atlas.h5") as atlas_file:
        assert atlas_file["prob"].labels == ("square",)
        assert atlas_file["prob"].scores("judge", "deepsim_fc6").target.tolist() == [1]


def test_judges_see_the_pictures_of_runs_too(make, tmp_path, capsys):
    out = tmp_path / "out"
    assert make(out, "methods=[ascent,dgn]", "units=[fc]", "styles=[sparse]") == 0
    capsys.readouterr()
    assert score(compose_config("score", [*JUDGE, f'out="{out}"'])) == 0
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table] == ["setting", "sparse", "deepsim_fc6"]
    with Atlas(out / "atlas.h5") as atlas_file:
        layer = atlas_file["fc"]
        seen = layer.scores("tiny", "deepsim_fc6")
        own = layer.run("deepsim_fc6")
        assert [scores.judge for scores in layer.judged(own)] == ["judge", "tiny"]
        best = own.best_sample
        assert seen.target.tolist() == [0, 1, 2]
        assert (seen.target_rank[np.arange(3), best] >= 0).all()
        assert layer.scores("judge", "sparse") is not None
    with h5py.File(out / "atlas.h5") as file:
        assert check(file) == []
    assert make(out, "methods=[ascent,dgn]", "units=[fc]", "styles=[sparse]") == 0  # keeps the verdicts
    with h5py.File(out / "atlas.h5") as file:
        assert set(file["layers/fc/scores/judge"]) == {"judge_class", "labels", "sparse", "deepsim_fc6"}


def test_the_reader_reads_what_was_written(searched):
    with Atlas(searched / "atlas.h5") as atlas_file:
        run = atlas_file["conv2"].run("deepsim_fc6-free")
        assert run.prior == "deepsim_fc6"
        assert run.numbers["iterations"] == 6
        assert run.code[0, 0].shape == (ENTRIES,)
        np.testing.assert_allclose(run.code_norm[0, 0], np.linalg.norm(run.code[0, 0]), rtol=1e-5)
        assert atlas_file.priors["deepsim_fc6"].code_layer == "fc6"
        assert atlas_file.combinations["some"].member_label[0] == ("round", "striped")


def test_a_folder_is_a_prior(tmp_path):
    folder = write_untrained(tmp_path / "my prior")
    asked = [*SMALL, *QUICK, "units=[fc,conv1:0]", f'priors=["{folder}"]', f'out="{tmp_path / "out"}"']
    assert atlas(compose_config("atlas", asked)) == 0
    with h5py.File(tmp_path / "out" / "atlas.h5") as file:
        assert check(file) == []
        assert (file["layers/fc/dgn/untrained/status"][:] == 1).all()
        assert file["priors/untrained"].attrs["trained_on"] == "dataset: nothing"
        assert file["priors/untrained/card"].asstr()[()] == "# Untrained\n"
    assert (
        atlas(compose_config("atlas", [*asked, "dgn.start=mean", "dgn.samples=1", f'out="{tmp_path / "mean"}"'])) == 0
    )


def test_further_settings_may_be_of_some_priors_alone(folder, tmp_path):
    other = write_untrained(tmp_path / "other")
    asked = [*SMALL, *QUICK, *overrides(folder), "units=[fc]", "+dgn.variants.free.sigmas=null", "samples=1"]
    asked += [f'priors=[deepsim_fc6,"{other}"]', "dgn.variants_of=[untrained]", f'out="{tmp_path / "out"}"']
    assert atlas(compose_config("atlas", asked)) == 0
    with h5py.File(tmp_path / "out" / "atlas.h5") as file:
        assert list(file["layers/fc/dgn"]) == ["deepsim_fc6", "untrained", "untrained-free"]


@pytest.mark.parametrize("lost", ["prior.json", "generator.safetensors", "statistics.safetensors"])
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_damaged_folder_is_refused_before_work_starts(capsys, tmp_path, lost, how):
    folder = write_untrained(tmp_path / "prior")
    file = folder / lost
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:20])
    said = refused(capsys, f'out="{tmp_path / "out"}"', f'priors=["{folder}"]')
    assert str(folder) in said
    assert not (tmp_path / "out").exists()


def test_two_priors_of_one_name_are_refused(capsys, tmp_path):
    one, two = write_untrained(tmp_path / "one"), write_untrained(tmp_path / "two")
    assert "expected each name once" in refused(capsys, f'priors=["{one}","{two}"]', f'out="{tmp_path / "out"}"')
