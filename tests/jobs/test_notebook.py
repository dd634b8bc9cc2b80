"""`visualize` and `render`: the pictures of an atlas, in a notebook; and one line for what the user can mend."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from atlas_viewer.atlas import Atlas
from atlas_viewer.visualization import UnitPictures
from jobs.atlas import atlas
from jobs.console import compose_config
from jobs.notebook import render, visualize
from jobs.request import read_model
from pipeline.errors import AtlasError, MissingError, SettingsError
from pipeline.nets.open_network import open_network
from pipeline.priors.open import SHIPPED
from pipeline.priors.prior import read_prior

UNITS = ["conv2:3", "conv5:12,13", "fc8:house"]
ARRAYS = ("pixels", "activation", "activation_float", "best_step", "attempt", "trace")
RUN_ARRAYS = (*ARRAYS, "code", "best_pixels", "best_activation", "best_code")


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Atlas:
    """An atlas of a few units of doodlenet, made by the command."""
    out = tmp_path_factory.mktemp("atlas") / "out"
    units = ",".join(f'"{unit}"' for unit in UNITS)
    settings = (
        f'out="{out}"', f"units=[{units}]", "samples=2", "dgn.samples=null", "dgn.class_samples=null",
        "style_units=null", "methods=[ascent,dgn]", "dataset=none", "styles=[low_frequency,sparse]",
        "style.low_frequency.max_iter=7", "style.sparse.max_iter=7", "dgn.iterations=5",
        "priors=[doodlenet_fc6,doodlenet_conv5]", "pages=false", "cluster=serial", "device=cpu",
    )  # fmt: skip
    assert atlas(compose_config("atlas", settings)) == 0
    with Atlas(out / "atlas.h5") as opened:
        yield opened


@pytest.fixture(scope="module")
def drawn():
    """The same by `visualize`."""
    return visualize(
        "doodlenet", UNITS, styles=["low_frequency", "sparse"], runs=["doodlenet_fc6", "doodlenet_conv5"], samples=2,
        max_iter=7, iterations=5, device="cpu",
    )  # fmt: skip


def small(**more) -> UnitPictures:
    """One picture of one unit of doodlenet, in two iterations."""
    (one,) = visualize("doodlenet", "conv1:0", **{"samples": 1, "max_iter": 2, "device": "cpu", **more})
    return one


def tiny(classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, classes))


# The pictures of an atlas ----------------------------------------------------------------------------


def test_the_pictures_are_those_that_an_atlas_stores_with_the_same_settings(stored, drawn):
    assert drawn.cited == stored.cited
    assert [one.title for one in drawn[:4]] == [
        "conv2:3, low_frequency", "conv2:3, sparse", "conv2:3, doodlenet_fc6", "conv2:3, doodlenet_conv5",
    ]  # fmt: skip
    assert len(drawn) == 4 * 4
    for one in drawn:
        unit = stored.unit(one.address)
        climb = unit.layer.run(one.setting) if one.method == "dgn" else unit.layer.pictures(one.setting)
        for name in RUN_ARRAYS if one.method == "dgn" else ARRAYS:
            np.testing.assert_array_equal(getattr(one, name), getattr(climb, name)[unit.row], f"{one.title} {name}")
        assert (one.label, one.status, one.measure) == (unit.label, climb.status[unit.row], climb.measure)
        assert (one.window, one.numbers) == (unit.layer.window, climb.numbers)


def test_a_setting_reaches_the_pictures_by_its_name():
    assert small(decay=0.5).numbers["decay"] == 0.5
    assert small(canvas="image").pixels.shape == (1, 96, 96, 3)
    assert small(overrides=["style.low_frequency.blur_radius=2"]).numbers["blur_radius"] == 2
    assert not np.array_equal(small(seed=1).pixels, small().pixels)
    (one,) = visualize("doodlenet", "conv1:0", styles=[], runs=True, samples=1, iterations=2, sigmas=1, device="cpu")
    assert (one.setting, one.numbers["iterations"], one.numbers["sigmas"]) == ("doodlenet_fc6", 2, 1.0)


def test_iterations_are_few_unless_they_are_given():
    assert small(max_iter=130).numbers["max_iter"] == 130
    defaults = compose_config("visualize", [])
    (noise,) = visualize("doodlenet", "conv1:0", styles=["noise"], samples=1, device="cpu")
    assert noise.numbers["max_iter"] == 1  # its own, which is smaller
    (plain,) = visualize("doodlenet", "conv1:0", styles="unregularized", samples=1, device="cpu")
    assert plain.numbers["max_iter"] == defaults.max_iter < compose_config("atlas", []).style.unregularized.max_iter


def test_an_open_network_and_its_option_give_the_same(drawn):
    network = open_network(read_model(compose_config("layers", ["model=doodlenet"]).model))
    for model in (network, drawn.network):
        (one,) = visualize(model, "conv1:0", samples=1, max_iter=2, device="cpu")
        np.testing.assert_array_equal(one.pixels, small().pixels)


def test_a_torch_module_is_shown_and_stays_as_it_was():
    module = tiny().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    shown = visualize(
        module, ["0:1", "3:round"], name="mine", size=8, mean=[120, 110, 100], gain=[0.02] * 3,
        labels=["round", "square", "striped"], samples=2, max_iter=3, device="cpu",
    )  # fmt: skip
    assert shown.cited.startswith("mine@")
    assert [one.title for one in shown] == ["0:1, low_frequency", "3:0 round, low_frequency"]
    assert [one.pixels.shape for one in shown] == [(2, 3, 3, 3), (2, 8, 8, 3)]
    assert module.training and all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_module_that_reads_grey_images_or_an_array_as_mean_is_shown():
    torch.manual_seed(0)
    grey = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    (one,) = visualize(
        grey, "0:1", size=(6, 8), order="L", mean=np.array([100.0]), gain=torch.ones(1), samples=1, max_iter=2
    )
    assert one.pixels.shape == (1, 3, 3, 3)
    assert (one.pixels == one.pixels[..., :1]).all()


def test_computing_leaves_the_settings_of_torch_and_is_silent(capsys):
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    deterministic = torch.backends.cudnn.deterministic
    try:
        small()
        assert torch.get_num_threads() == threads + 1
        assert torch.backends.cudnn.deterministic == deterministic
    finally:
        torch.set_num_threads(threads)
    assert capsys.readouterr() == ("", "")
    small(progress=True)
    assert "picture" in capsys.readouterr().err


# A picture from its code -----------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["doodlenet_fc6", "doodlenet_conv5"])
@pytest.mark.parametrize("address", ["conv2:3", "conv5:13", "fc8:house"])
def test_a_picture_is_drawn_again_from_its_code(stored, run, address):
    unit = stored.unit(address)
    for sample in (0, 1):
        for iterate, pixels in (("last", unit.run(run).pixels), ("best", unit.run(run).best_pixels)):
            again = render(stored, address, run=run, sample=sample, iterate=iterate)
            assert again.dtype == np.uint8
            differs = np.abs(again.astype(int) - pixels[sample])  # alone the last bits differ from those in a batch
            assert differs.max() <= 1 and differs.mean() < 1e-3


def test_the_leading_run_of_a_path_or_of_a_unit_is_drawn(stored):
    expected = stored.unit("fc8:house").run("doodlenet_fc6").pixels[0]
    for where, unit in ((stored.path, "fc8:house"), (str(stored.path), "fc8:15"), (stored, stored.unit("fc8:house"))):
        assert_same_picture(render(where, unit), expected)


def assert_same_picture(drawn: np.ndarray, stored: np.ndarray) -> None:
    """Equal but for last bits before rounding: a code alone, or in a micro-batch with others."""
    apart = np.abs(drawn.astype(int) - stored)
    assert apart.max() <= 1 and (apart > 0).mean() < 1e-3


def test_a_prior_is_an_option_a_folder_or_open(stored):
    folder = SHIPPED / "doodlenet_fc6"
    for prior in ("doodlenet_fc6", folder, str(folder), read_prior(folder)):
        assert render(stored, "fc8:house", prior=prior).shape == (96, 96, 3)


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [
        (
            {"prior": "doodlenet_fc7"},
            SettingsError,
            r"prior doodlenet_fc7@\w+: the picture was made with doodlenet_fc6@",
        ),
        ({"prior": SHIPPED / "doodlenet_conv5"}, SettingsError, "was made with doodlenet_fc6@"),
        ({"prior": "doodlenet_fc66"}, MissingError, "not an option of conf/prior .nearest: doodlenet_fc6"),
        ({"prior": "no/such/folder"}, AtlasError, "no prior.json in it"),
        ({"run": "doodlenet_fc66"}, MissingError, "no run doodlenet_fc66 .nearest: doodlenet_fc6"),
        ({"sample": 2}, MissingError, "no picture of sample 2; it has 0, 1"),
        ({"sample": -1}, MissingError, "no picture of sample -1"),
        ({"iterate": "lst"}, SettingsError, "nearest: last"),
        ({"unit": "fc8:hose"}, MissingError, "nearest: house"),
        ({"unit": "fc9:1"}, MissingError, "nearest: fc8"),
        ({"atlas": "nowhere.h5"}, MissingError, "no such file"),
        ({"device": "gpu"}, SettingsError, "device: got 'gpu'"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_refused_in_one_line(stored, asked, kind, said):
    with pytest.raises(kind, match=said) as refused:
        render(**{"atlas": stored, "unit": "fc8:house", **asked})
    assert "\n" not in str(refused.value)


def test_a_layer_without_runs_has_no_code_to_draw(tmp_path):
    out = tmp_path / "out"
    few = ("units=[conv1:0]", "methods=[ascent]", "samples=1", "style.low_frequency.max_iter=2", "dataset=none")
    assert atlas(compose_config("atlas", [f'out="{out}"', *few, "cluster=serial", "pages=false"])) == 0
    with pytest.raises(MissingError, match="layer conv1: no pictures through a prior"):
        render(out / "atlas.h5", "conv1:0")


# What cannot be computed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "units", "more", "said"),
    [
        ("doodelnet", "fc8:1", {}, r"no option 'doodelnet' in conf/model/ \(nearest: doodlenet"),
        (3, "fc8:1", {}, "model: got int, expected a torch module, an open network, or an option of conf/model"),
        ("doodlenet", "fc9:1", {}, "layer fc9: .*nearest: fc8"),
        ("doodlenet", "fc8:hose", {}, "nearest: house"),
        ("doodlenet", "fc8:28", {}, "28"),
        ("doodlenet", "fc8:1", {"styles": ["sprase"]}, "styles: got 'sprase'.*nearest: sparse"),
        ("doodlenet", "fc8:1", {"styles": ["sparse", "sparse"]}, "expected each name once"),
        ("doodlenet", "fc8:1", {"styles": []}, "styles: got none, and no runs"),
        ("doodlenet", "fc8:1", {"runs": ["doodlenet_fc66"]}, "nearest: doodlenet_fc6"),
        ("doodlevgg", "conv1_1:1", {"runs": True}, "runs: doodlevgg has no prior of its own"),
        ("doodlenet", "fc8:1", {"samples": 0}, "samples: got 0, expected 1 or more"),
        ("doodlenet", "fc8:1", {"samples": 1.5}, "samples: got 1.5, expected a whole number"),
        ("doodlenet", "fc8:1", {"seed": -1}, "seed: got -1"),
        ("doodlenet", "fc8:1", {"device": "gpu"}, "device: got 'gpu'"),
        ("doodlenet", "fc8:1", {"canvas": "windw"}, "ascent.canvas: got 'windw'.*nearest: window"),
        ("doodlenet", "fc8:1", {"max_itr": 3}, "max_itr: not a number of what is computed .nearest: max_iter"),
        ("doodlenet", "fc8:1", {"iterations": 3}, "iterations: not a number of what is computed"),
        ("doodlenet", "fc8:1", {"decay": 2}, r"decay: got 2.0, expected \[0, 1\)"),
        ("doodlenet", "fc8:1", {"decay": "much"}, "decay: got 'much', expected a number"),
        ("doodlenet", "fc8:1", {"decay": object()}, "decay: got <object"),
        ("doodlenet", "fc8:1", {"overrides": ["style.sparse.dcay=1"]}, "nearest: style.sparse.decay"),
        ("doodlenet", "fc8:1", {"size": 96}, "size: got 96, only for a torch module"),
        (tiny(), "9:1", {"size": 8}, "layer 9: not in network Sequential"),
        (tiny(), "3:1", {"size": (8, 0)}, "size"),
        (tiny(), "3:1", {"size": "8"}, "size: got '8', expected a list"),
        (tiny(), "3:1", {"size": 8, "labels": ["a"]}, "labels: got 1, expected 3, one for each unit of 3"),
        (tiny(), "3:1", {"size": 8, "order": "RBG"}, "order"),
        (tiny(), "3:1", {"size": 8, "mean": [1, 2]}, "mean: got shape"),
        (tiny(), "3:1", {"size": 8, "mean": "mean.npy"}, "model.mean: got 'mean.npy', expected one number a channel"),
        (tiny(), "3:1", {"size": 8, "gain": 0.1}, "model.gain: got 0.1, expected a list"),
        (tiny(), "3:1", {"size": 8, "name": "a b"}, "name: got 'a b'"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused_in_one_line(model, units, more, said):
    with pytest.raises(AtlasError, match=said) as refused:
        visualize(model, units, **{"device": "cpu", **more})
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_one_unit_takes_seconds_from_import_to_figure(tmp_path):
    """In a new process: 6 s of an idle core, up to 10 s of a busy one; the limit leaves room for more."""
    pytest.importorskip("matplotlib")
    code = "from jobs.notebook import visualize; visualize('doodlenet', 'fc8:house').figure().savefig('figure.png')"
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=here, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (tmp_path / "figure.png").is_file()
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 15


def test_importing_it_loads_no_torch():
    code = "import sys, jobs.notebook; print(sorted({'torch', 'ray', 'matplotlib'} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
