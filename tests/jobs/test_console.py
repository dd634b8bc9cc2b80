"""What the command line answers: exit codes, and one line for what the user can mend, before any work."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_network import FOLDER, SMALL, tiny

from jobs.atlas import atlas
from jobs.console import compose_config, run_job
from jobs.layers import layers
from jobs.request import read_out
from jobs.score import score
from jobs.site import site
from pipeline.errors import AtlasError
from pipeline.nets.caffe.schema import NetParameter

ROOT = Path(__file__).parents[2]
PROTOTXT = """name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 4 } }
"""
SHAPES = {"conv": ((2, 3, 3, 3), (2,)), "fc": ((4, 98), (4,))}


def caffemodel(path: Path, shapes: dict[str, tuple[tuple[int, ...], ...]]) -> Path:
    """Weights of these shapes in Caffe's binary form."""
    net = NetParameter(name="small")
    for name, blobs in shapes.items():
        layer = net.layer.add(name=name)
        for shape in blobs:
            layer.blobs.add(data=[np.ones(shape, np.float32).tobytes()]).shape.dim.extend(shape)
    path.write_bytes(net.SerializeToString())
    return path


@pytest.fixture
def caffe(tmp_path: Path) -> dict[str, Path]:
    """A definition and its weights, as the options of model=caffe that name them."""
    definition = tmp_path / "net.prototxt"
    definition.write_text(PROTOTXT)
    return {"model.definition": definition, "model.weights": caffemodel(tmp_path / "net.caffemodel", SHAPES)}


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """The one line that the atlas job answers to a request that cannot be done; nothing may be computed."""

    def never(*_):
        raise AssertionError("work was begun")

    def ask(*arguments: str, small: tuple[str, ...] = SMALL, out: Path | None = None) -> str:
        folder = tmp_path / "out" if out is None else out
        capsys.readouterr()
        with monkeypatch.context() as patched, pytest.raises(SystemExit) as ended:
            patched.setattr("pipeline.compute.compute", never)
            run_job(atlas, "atlas", "", [*small, f'out="{folder}"', *arguments])
        said = capsys.readouterr()
        assert ended.value.code == 2, said.err
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1, said.err
        return said.err

    return ask


def done(job, config: str, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run_job(job, config, "", arguments)
    return ended.value.code


CAFFE = ("model=caffe", "model.name=small", "cluster=serial", "pages=false", "device=cpu")


def given(caffe: dict[str, Path]) -> list[str]:
    return [f'{name}="{path}"' for name, path in caffe.items()]


# What cannot be done ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "where", "near"),
    [
        ("model=tourch", "model: no option 'tourch'", "torch"),
        ("units=[covn1]", "layer covn1: not in network tiny", "conv1"),
        ("units=[cnov*]", "units cnov*: matches no layer of tiny", "conv1"),
        ("units=[conv1:4]", "units conv1:4: layer conv1 has units 0-3", None),
        ("units=[conv1:2-9]", "units conv1:2-9: layer conv1 has units 0-3", None),
        ("units=[fc:sqare]", "units fc:sqare: not a number, a range or a label", "square"),
        ("styles=[low_freqency]", "styles: got 'low_freqency'", "low_frequency"),
        ("style.low_frequency.max_itre=4", "setting style.low_frequency.max_itre: not known", "max_iter"),
        ("cluster=lokal", "cluster: no option 'lokal'", "local"),
        ("--out=x", "option --out=x: not known", None),
    ],
)
def test_what_the_request_misspells_is_named_with_the_near_match(refused, tmp_path, argument, where, near):
    said = refused(argument)
    assert where in said
    assert near is None or near in said.split("nearest:")[1]
    assert not (tmp_path / "out").exists()


def test_weights_that_are_not_there(refused, caffe):
    missing = caffe["model.weights"].with_name("net.cafemodel")
    said = refused(*given({**caffe, "model.weights": missing}), small=CAFFE)
    assert f"model.weights {missing}: no such file (nearest: net.caffemodel" in said


def test_weights_that_are_cut_short(refused, caffe):
    weights = caffe["model.weights"]
    weights.write_bytes(weights.read_bytes()[:-40])
    said = refused(*given(caffe), small=CAFFE)
    assert f"weights {weights}: cut short, or no Caffe weights ({weights.stat().st_size} bytes)" in said


def test_weights_of_another_network_name_the_blob_and_both_shapes(refused, caffe):
    caffemodel(caffe["model.weights"], {**SHAPES, "fc": ((5, 98), (5,))})
    said = refused(*given(caffe), small=CAFFE)
    assert "layer fc, blob 0 has shape (5, 98), expected (4, 98)" in said


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"fc.weight": torch.zeros(3, 9)}, "fc.weight has shape (3, 9), expected (3, 125)"),
        ({"fc.weight": None}, "fc.weight is missing"),
        ({"extra": torch.zeros(1)}, "extra is not of this network"),
    ],
)
def test_torch_weights_of_another_network_are_told_alike(refused, tmp_path, change, expected):
    state = {name: value for name, value in {**tiny().state_dict(), **change}.items() if value is not None}
    save_file(state, tmp_path / "w.safetensors")
    assert expected in refused(f"model.weights={tmp_path}/w.safetensors")


def test_torch_weights_that_are_cut_short(refused, tmp_path):
    save_file(tiny().state_dict(), tmp_path / "w.safetensors")
    path = tmp_path / "w.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    assert f"weights {path}: cannot be read" in refused(f"model.weights={path}")


def test_a_builder_that_is_not_there(refused):
    assert "nearest: tiny" in refused("model.build=tiny_network:tyni")
    assert "cannot import tiny_netwrok" in refused("model.build=tiny_netwrok:tiny")


def test_a_definition_that_does_not_parse_names_the_line(refused, caffe):
    caffe["model.definition"].write_text(PROTOTXT.replace("num_output: 4", "num_output: four"))
    said = refused(*given(caffe), small=CAFFE)
    assert str(caffe["model.definition"]) in said
    assert "4:" in said or "line 4" in said


def test_a_file_where_the_folder_should_be(refused, tmp_path):
    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert f"{taken}" in (said := refused(out=taken)) and "choose another folder with OUT=…" in said
    assert f"{taken}" in refused(out=taken / "below")
    assert "Not a directory" in refused("plan=true", out=taken)
    assert taken.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(refused, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "cannot be written" in refused(out=tmp_path / "closed" / "atlas")


def test_an_atlas_of_other_weights_or_of_other_numbers_is_left_alone(refused, tmp_path):
    assert done(atlas, "atlas", *SMALL, f"out={tmp_path}/out", "units=[fc:0]", "samples=1") == 0
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.parent.name != "log"]
    kept = {path: path.read_bytes() for path in files}
    said = refused("+model.build_arguments.seed=1")
    assert "another definition or other weights; choose another folder with OUT=…" in said
    assert "step_start: 4.0, now 3.0" in (said := refused("style.low_frequency.step_start=3"))
    assert "style.low_frequency.name=…" in said
    assert "seed: 0, now 1" in refused("seed=1")
    assert {path: path.read_bytes() for path in kept} == kept


@pytest.mark.parametrize("plan", ["", "{", "[]", "null", '{"version": 1}', '{"version": 9}', b"\xff\xfe", "directory"])
def test_a_damaged_plan(refused, tmp_path, plan):
    path = tmp_path / "out" / "plan.json"
    if plan == "directory":
        path.mkdir(parents=True)
    else:
        path.parent.mkdir()
        path.write_bytes(plan if isinstance(plan, bytes) else plan.encode())
    said = refused()
    assert "plan.json: " in said
    assert "choose another folder with OUT=…" in said
    assert plan == "directory" or path.read_bytes() == (plan if isinstance(plan, bytes) else plan.encode())


def test_a_plan_with_a_value_that_is_no_good(refused, tmp_path):
    assert done(atlas, "atlas", *SMALL, f"out={tmp_path}/out", "units=[fc:0]", "samples=1") == 0
    path = tmp_path / "out" / "plan.json"
    record = json.loads(path.read_text())
    record["settings"]["ascent"]["low_frequency"]["style"]["decay"] = 7
    path.write_text(json.dumps(record))
    assert "plan.json: cannot be read (SettingsError: style.low_frequency.decay: got 7" in refused()


def test_another_run_on_the_same_folder(refused, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with open(out / ".lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert f"{out}: another run is writing here; wait for it, or choose OUT=…" in refused()
        assert not (out / "plan.json").exists()
    assert done(atlas, "atlas", *SMALL, f"out={out}", "units=[fc:0]", "samples=1") == 0


def test_a_gpu_that_is_not_there(refused):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert "device: got cuda, but torch finds no GPU" in refused("device=cuda")


def test_site_and_score_of_an_atlas_that_is_not_there(tmp_path, capsys):
    for job, config in ((site, "site"), (score, "score")):
        assert done(job, config, f"out={tmp_path}/none") == 2
        assert f"error: {tmp_path}/none/atlas.h5: not found; make it with make atlas" in capsys.readouterr().err


# Folders with characters that make, the shell or Hydra read ------------------------------------------


def through_make(*words: str) -> list[str]:
    """The arguments that a job gets from a make command."""
    kept = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "ARGS")}
    shown = subprocess.run(["make", "-n", *words], cwd=ROOT, env=kept, capture_output=True, text=True, check=True)
    command = next(line for line in shown.stdout.splitlines() if "-m jobs." in line).partition("-m jobs.")[2]
    listed = "import json, sys; print(json.dumps(sys.argv[1:]))"
    ran = subprocess.run(["sh", "-c", f"set -f; \"{sys.executable}\" -c '{listed}' {command}"], capture_output=True)
    return json.loads(ran.stdout)[1:]


@pytest.mark.parametrize(
    "out", ["a$b", "$HOME", "$(touch x)", "`touch x`", "it's", 'a "b" c', "a,b (1)=", "a\\b", "#x"]
)
def test_a_folder_s_name_is_taken_literally(out):
    arguments = through_make("atlas", f"OUT={out}")
    assert read_out(compose_config("atlas", arguments)) == Path(out)


@pytest.mark.parametrize("out", ["${x}", "a/${model.name}", "${oc.env:HOME}"])
def test_a_folder_s_name_refers_to_no_setting(refused, out):
    said = refused(*through_make("atlas", f"OUT={out}"))
    assert "cannot be part of a folder's name" in said and out in said


def test_a_folder_without_a_name(refused):
    assert "out: is empty; name a folder with OUT=…" in refused("out=")


def test_arguments_pass_make_unchanged():
    assert through_make("atlas", "ARGS='model.labels=\"${oc.env:HOME}/a b\"' units=[conv5:*]") == [
        'model.labels="${oc.env:HOME}/a b"',
        "units=[conv5:*]",
    ]


# Other endings ---------------------------------------------------------------------------------------


def test_a_finished_job_gives_its_own_code():
    assert done(lambda config: 0, "site") == 0
    assert done(lambda config: 1, "site") == 1


def test_ctrl_c_is_130_and_says_how_to_go_on(capsys):
    def stopped(config):
        raise KeyboardInterrupt

    assert done(stopped, "site") == 130
    assert "the same command continues from there" in capsys.readouterr().err


def test_an_error_of_ours_is_one_line_even_from_deep_inside(capsys):
    def deep(config):
        try:
            raise ValueError("inner")
        except ValueError as error:
            raise AtlasError("here: what happened; do that") from error

    assert done(deep, "site") == 2
    assert capsys.readouterr().err == "error: here: what happened; do that\n"


def test_a_fault_of_the_programs_own_keeps_its_traceback():
    def broken(config):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_job(broken, "site", "", [])


def test_help_names_the_groups_and_the_configuration(capsys):
    assert done(atlas, "atlas", "--help") == 0
    said = capsys.readouterr().out
    assert "conf/atlas.yaml" in said
    assert "model" in said and "style" in said


def test_the_layer_table_of_a_network(capsys):
    model = [argument for argument in SMALL if argument.startswith("model")]
    assert done(layers, "layers", *model) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()[2:]}
    assert rows["conv1"][1:6] == ["conv", "4", "7x7", "3x3", "2"]
    assert rows["fc"][1:3] == ["fc", "3"]


def test_a_process_ends_with_the_code_and_the_line(tmp_path):
    command = [sys.executable, "-m", "jobs.atlas", *SMALL, "units=[covn1]", f"out={tmp_path}/out"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{FOLDER}"}
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: layer covn1")
    assert ended.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "override",
    [
        "seed=" + "9" * 5000,
        "units=" + "[" * 1000,
        "out=" + "${" * 1000,
        "out=" + "a" * 100_000,
        "out=a\0b",
        "=5",
        "a" * 300 + "=b",
        "model=" + "a" * 300,
        "out=${out}",
        "out=${oc.nothing:x}",
        "+_target_=os.system",
        "model._target_=os.system",
    ],
    ids=lambda text: text[:12].encode("unicode_escape").decode(),
)
def test_absurd_overrides_are_refused_on_one_line_and_call_nothing(override):
    with pytest.raises(AtlasError) as error:
        compose_config("atlas", [override])
    assert str(error.value).isprintable() and len(str(error.value)) < 3000
