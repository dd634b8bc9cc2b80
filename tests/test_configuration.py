"""Every option of conf/ becomes settings, every documented override lands, and a slip of the pen is named."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs import console
from jobs.console import CONF, compose_config, groups, run_job
from jobs.request import read_model, read_request
from pipeline.errors import SettingsError
from pipeline.methods.ascent.settings import AscentSettings, StyleSettings
from pipeline.methods.dgn.settings import RunSettings
from pipeline.methods.memorisation.settings import MemorisationSettings
from pipeline.methods.tops.settings import TopsSettings
from pipeline.settings import FORMS, ModelSettings, PriorSettings

ROOT = Path(__file__).parents[1]
MAKE_VARIABLES = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARGS")  # of the make that runs the tests
GENERIC = {
    "caffe": ["model.definition=net.prototxt", "model.weights=net.caffemodel"],
    "torch": ["model.build=package.module:build"],
    "timm": ["model.timm=timm"],
    "torchvision": ["model.torchvision=torchvision"],
    "huggingface": ["model.repo=huggingface"],
}
STYLES = groups()["style"]
METHODS = sorted((CONF / "method").glob("*.yaml"))
# A value for every field of a style that no style of conf/ has.
OTHER = {
    "name": "other", "decay": 0.123, "blur_radius": 3.25, "blur_every": 7, "small_val_percentile": 11.5,
    "small_norm_percentile": 12.5, "px_benefit_percentile": 13.5, "px_abs_benefit_percentile": 14.5,
    "policy": "progress01", "rate": 15.5, "max_rate": 16.5, "desired_progress": 17.5, "early_progress": 0.185,
    "late_progress_factor": 0.195, "step_start": 20.5, "step_end": 0.215, "max_iter": 222, "start_image": "randu",
    "keep": "last", "keep_from": 1, "direction": "minimize", "jitter": 0.125,
}  # fmt: skip


def request(*overrides: str, device: str = "cpu") -> SimpleNamespace:
    """What the overrides ask, with what each method is asked by its own name."""
    asked = read_request(compose_config("atlas", [f"device={device}", *overrides]))
    shared, tops = asked.config, asked.asked["tops"]
    return SimpleNamespace(
        **{field.name: getattr(asked, field.name) for field in dataclasses.fields(asked)},
        methods=shared.methods, samples=shared.samples, seed=shared.seed, device=shared.device,
        styles=asked.asked["ascent"], dgn=asked.asked["dgn"], tops=tops.kept, dataset=tops.dataset,
        memorisation=asked.asked["memorisation"],
    )  # fmt: skip


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str, config: str = "atlas") -> str:
    """What a job says to arguments that it cannot take: one line, exit code 2, and no work."""

    def job(composed) -> int:
        read_request(composed)
        raise AssertionError("was accepted")

    with pytest.raises(SystemExit) as stopped:
        run_job(job, config, "", arguments)
    said = capsys.readouterr()
    assert stopped.value.code == 2
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("error: ")
    return said.err


# Options ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", groups()["model"])
def test_every_model_composes_into_settings(model):
    settings = request(f"model={model}", *GENERIC.get(model, [])).model
    assert isinstance(settings, ModelSettings)
    assert settings.name == model
    for job in ("layers", "fetch", "score", "sweep"):
        composed = compose_config(job, [f"model={model}", *GENERIC.get(model, [])])
        assert read_model(composed.model) == settings


@pytest.mark.parametrize("judge", groups()["model"])
def test_every_model_can_be_a_judge(judge):
    overrides = [override.replace("model.", "judge.", 1) for override in GENERIC.get(judge, [])]
    composed = compose_config("score", [f"model@judge={judge}", *overrides])
    assert read_model(composed.judge).name == judge


@pytest.mark.parametrize("model", GENERIC)
def test_a_generic_model_says_what_it_needs(capsys, model):
    assert f"model.{FORMS[model]}: missing" in refusal(capsys, f"model={model}")


@pytest.mark.parametrize(
    ("override", "name"),
    [
        ("model=timm model.timm=resnet50.a1_in1k", "resnet50.a1_in1k"),
        ("model=timm model.timm=hf-hub:timm/vit_tiny@v2", "timm_vit_tiny_v2"),
        ("model=timm model.timm=local-dir:/data/my/net", "net"),
        ("model=torchvision model.torchvision=resnet50:IMAGENET1K_V1", "resnet50_IMAGENET1K_V1"),
        ("model=huggingface model.repo=microsoft/resnet-50", "microsoft_resnet-50"),
        ('model=huggingface model.repo="/data/my, net/"', "my__net"),
        ("model=huggingface model.repo=./net", "net"),
        ('model=huggingface model.repo="~/nets/a"', "a"),
        ("model=timm model.timm=resnet18 model.name=mine", "mine"),
        ("model=timm model.timm=..", "timm"),
    ],
)
def test_a_network_is_called_as_its_publisher_calls_it(override, name):
    model, _, rest = override.partition(" ")
    overrides = [rest] if '"' in rest else rest.split()
    asked = request(model, *overrides)
    assert (asked.model.name, asked.out) == (name, Path("atlases") / name)


def test_a_judge_of_a_publisher_has_its_own_name():
    composed = compose_config("score", ["model@judge=timm", "judge.timm=resnet18"])
    assert read_model(composed.judge).name == "resnet18"


@pytest.mark.parametrize("experiment", groups()["experiment"])
@pytest.mark.parametrize("device", groups()["devices"])
def test_every_experiment_composes_on_every_device(experiment, device):
    where = "cluster=ray"  # a machine without a GPU may ask a cluster for one
    assert request(f"experiment={experiment}", where, device=device).device.kind == device


@pytest.mark.parametrize("cluster", groups()["cluster"])
def test_every_cluster_composes(cluster):
    assert request(f"cluster={cluster}", "cluster.workers=2").cluster.kind == cluster


@pytest.mark.parametrize("job", [path.stem for path in CONF.glob("*.yaml")])
def test_every_job_can_print_its_configuration(job, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_job(None, job, "", ["--cfg", "job"])
    assert stopped.value.code == 0
    assert ": " in capsys.readouterr().out


def test_every_style_is_on_offer_and_has_every_number():
    found = request(f"styles=[{','.join(STYLES)}]", "experiment=null").styles
    assert [record.name for record in found] == list(STYLES)


def test_a_recipe_of_the_network_is_used_and_can_be_left_out():
    assert request().samples != request("experiment=null").samples
    assert request("samples=7").samples == 7
    assert request("model=squeezenet").samples == request("experiment=null").samples


# Overrides -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "found", "expected"),
    [
        ("units=[conv5:0-63,fc8:*]", lambda r: r.units, ("conv5:0-63", "fc8:*")),
        ("units=conv5", lambda r: r.units, ("conv5",)),
        ("units=conv5:3", lambda r: r.units, ("conv5:3",)),
        ('units=["fc8:house, home"]', lambda r: r.units, ("fc8:house, home",)),
        ("units=null", lambda r: r.units, None),
        ("methods=[ascent]", lambda r: r.methods, ("ascent",)),
        ("methods=ascent", lambda r: r.methods, ("ascent",)),
        ("styles=[low_frequency,sparse]", lambda r: tuple(s.name for s in r.styles), ("low_frequency", "sparse")),
        ("styles=sparse", lambda r: tuple(s.name for s in r.styles), ("sparse",)),
        ("samples=9", lambda r: r.samples, 9),
        ("memorisation.samples=0", lambda r: r.memorisation.samples, 0),
        ("memorisation.images=50", lambda r: r.memorisation.images, 50),
        ("seed=5", lambda r: r.styles[0].seed, 5),
        ("seed=0", lambda r: r.styles[0].seed, 0),
        ("cluster=serial", lambda r: r.cluster.kind, "serial"),
        ("cluster=local", lambda r: r.cluster.kind, "local"),
        ("cluster=ray", lambda r: r.cluster.kind, "ray"),
        ("cluster.workers=2", lambda r: r.cluster.workers, 2),
        ("cluster.address=head:6379", lambda r: r.cluster.address, "head:6379"),
        ("model.name=mine", lambda r: (r.model.name, str(r.out)), ("mine", "atlases/mine")),
        ("model.weights=/data/w.pt", lambda r: r.model.weights, "/data/w.pt"),
        ('model.weights="/data/a,b (1)/w=2.pt"', lambda r: r.model.weights, "/data/a,b (1)/w=2.pt"),
        ("model.definition=/data/d.prototxt", lambda r: r.model.definition, "/data/d.prototxt"),
        ("model.build=my.module:Net", lambda r: r.model.build, "my.module:Net"),
        ("model.build_arguments.classes=7", lambda r: r.model.build_arguments, (("classes", 7),)),
        ("+model.build_arguments.deep=true", lambda r: dict(r.model.build_arguments)["deep"], True),
        ("model.size=[64,32]", lambda r: r.model.size, (64, 32)),
        ("model.mean=mean.npy", lambda r: r.model.mean, "mean.npy"),
        ("model.mean=[1,2,3]", lambda r: r.model.mean, (1.0, 2.0, 3.0)),
        ("model.mean=null", lambda r: r.model.mean, None),
        ("ascent.canvas=image", lambda r: r.styles[0].ascent.canvas, "image"),
        ("devices.cpu.max_batch=3", lambda r: r.styles[0].device.max_batch, 3),
        ('out="a b"', lambda r: str(r.out), "a b"),
        ('out="a, (b)=c"', lambda r: str(r.out), "a, (b)=c"),
        ("out=2024", lambda r: str(r.out), "2024"),
        ("plan=true", lambda r: r.plan_only, True),
        ("pages=false", lambda r: r.pages, False),
        ("dataset=none", lambda r: r.model.name, "doodlenet"),
    ],
)
def test_an_override_lands_in_the_request(override, found, expected):
    value = found(request(override))
    assert value == expected
    assert type(value) is type(expected)


def test_every_number_of_every_style_can_be_set():
    assert set(OTHER) == {field.name for field in dataclasses.fields(StyleSettings)}
    overrides = [f"style.{style}.{key}={value}" for style in STYLES for key, value in OTHER.items() if key != "name"]
    found = request("experiment=null", f"styles=[{','.join(STYLES)}]", *overrides).styles
    for style, record in zip(STYLES, found, strict=True):
        assert dataclasses.asdict(record.style) == {**OTHER, "name": style}


def test_a_variant_has_a_name_of_its_own():
    (record,) = request("styles=[sparse]", "style.sparse.name=sparse_200", "style.sparse.max_iter=200").styles
    assert (record.name, record.style.max_iter) == ("sparse_200", 200)


def test_numbers_get_the_type_of_their_field():
    style = request("experiment=null", "styles=[sparse]", "style.sparse.rate=3", "style.sparse.step_end=0").styles[0]
    assert [type(style.style.rate), type(style.style.step_end)] == [float, float]


# Slips -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("model=doodelnet", r"no option 'doodelnet' in conf/model/ \(nearest: doodlenet"),
        ("cluster=serail", r"no option 'serail' in conf/cluster/ \(nearest: serial"),
        ("cluster=null", r"no option 'null' in conf/cluster/"),
        ("experiment=papr", r"nearest: paper"),
        ("dataset=imagnet", r"no option 'imagnet' in conf/dataset/"),
        ("devices@devices.cpu=cdua", r"nearest: cuda"),
        ("device=cud", r"device: got 'cud', expected one of .*nearest: cuda"),
        ("styles=[sprase]", r"styles: got 'sprase', expected one of .*nearest: sparse"),
        ("style=sparse", r"choose by styles=\[sparse\]"),
        ("methods=[ascnt]", r"nearest: ascent"),
        ("modle=doodlenet", r"setting modle: not known \(nearest: model"),
        ("sampels=3", r"setting sampels: not known \(nearest: samples"),
        ("+sampels=3", r"setting sampels: not known \(nearest: samples"),
        ("style.sparse.max_itr=3", r"nearest: style.sparse.max_iter"),
        ("+style.sparse.max_itr=3", r"setting style.sparse.max_itr: not known \(nearest: style.sparse.max_iter"),
        ("style.sprase.max_iter=3", r"nearest: style.sparse.max_iter"),
        ("cluster.wrokers=3", r"nearest: cluster.workers"),
        ("model.wieghts=x", r"nearest: model.weights"),
        ("samples", r"expected name=value"),
        ("--samples=3", r"option --samples=3: not known"),
        ("samples=0", r"samples: got 0, expected 1 or more"),
        ("memorisation.samples=-1", r"memorisation.samples: got -1, expected 0 or more"),
        ("memorisation.typical=0", r"memorisation.typical: got 0, expected 1 or more"),
        ("samples=many", r"samples: got 'many', expected a whole number"),
        ("samples=true", r"samples: got True, expected a whole number"),
        ("samples=1.5", r"samples: got 1.5, expected a whole number"),
        ("seed=-1", r"seed: got -1, expected 0 to 2147483647"),
        ("plan=perhaps", r"plan: got 'perhaps', expected true or false"),
        ("out=null", r"out: got None, expected text"),
        ("out=a,b", r"argument 'out=a,b': cannot be read; .* as 'out=\"a,b\"'"),
        ("out=a=b", r"argument 'out=a=b': cannot be read; .* as 'out=\"a=b\"'"),
        ("units=[conv5", r"cannot be read; .*close every bracket"),
        ("units=[]", r"units: got none, expected at least one"),
        ("styles=[]", r"styles: got none, expected at least one"),
        ("methods=[]", r"methods: got none, expected at least one"),
        ("styles=[sparse,sparse]", r"styles: got sparse, sparse, expected each name once"),
        ("ascent=3", r"ascent: got 3, expected settings"),
        ("ascent.canvas=windw", r"nearest: window"),
        ("style.low_frequency.decay=1", r"style.low_frequency.decay: got 1.0, expected \[0, 1\)"),
        ("style.low_frequency.max_iter=0", r"expected 1 or more"),
        ("model.name=a/b", r"model.name: got 'a/b'"),
        ("model.size=[96]", r"model.size"),
        (
            "model.pretrained=false",
            r"model.pretrained: model doodlenet has no publisher .*MODEL=timm, MODEL=torchvision",
        ),
        ("model.interpolation=bicubik", r"model.interpolation: got 'bicubik'.*nearest: bicubic"),
        ("model.order=null", r"model.order: missing for model doodlenet; give it by model.order=RGB"),
        ("model.form=tim", r"model.form: got 'tim', expected one of .*nearest: timm"),
        ("dataset.root=/photos", r"dataset.root: doodles are drawn and read no files"),
    ],
)
def test_a_slip_ends_with_one_line_that_names_it(capsys, argument, said):
    assert re.search(said, refusal(capsys, argument))


def test_complaints_of_other_jobs_are_of_their_own_settings(capsys):
    assert "nearest: site.workers" in refusal(capsys, "site.wokers=3", config="site")
    assert "setting units: not known" in refusal(capsys, "units=conv1", config="site")


def test_the_configuration_of_one_style_does_not_leak_into_another():
    plain = request("experiment=null", f"styles=[{','.join(STYLES)}]").styles
    changed = request("experiment=null", f"styles=[{','.join(STYLES)}]", "style.sparse.max_iter=77").styles
    assert [a.name for a, b in zip(plain, changed, strict=True) if a != b] == ["sparse"]


def test_composing_leaves_no_folders_and_stays_where_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        run_job(lambda config: 0, "atlas", "", ["samples=2"])
    assert Path.cwd() == tmp_path
    assert list(tmp_path.iterdir()) == []


# conf/ itself ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_key_of_conf_carries_a_comment(path):
    """On its line or above it; what a model or an experiment only sets is explained where it has its first value."""
    explained = {"defaults"}
    if path.parent.name in ("model", "prior", "style") and path.stem != "_fields":
        explained |= _keys(path.with_name("_fields.yaml"))
    if path.parent.name == "experiment":
        explained |= _keys(CONF / "atlas.yaml") | _keys(CONF / "style" / "_fields.yaml") | {"style", *STYLES}
        explained |= {path.stem for path in METHODS} | {key for path in METHODS for key in _keys(path)}
    lines = path.read_text().splitlines()
    bare = []
    for at, line in enumerate(lines):
        key = re.match(r"\s*(?:- )?([\w@. ]+):", line)
        if key is not None and key[1] not in explained and "#" not in line and not lines[at - 1].startswith("#"):
            bare.append(f"{at + 1}: {line}")
    assert bare == []


def test_conf_has_the_fields_of_the_settings_and_no_others():
    keys = _keys(CONF / "model" / "_fields.yaml")
    assert keys == {field.name for field in dataclasses.fields(ModelSettings)}
    assert _keys(CONF / "prior" / "_fields.yaml") == {field.name for field in dataclasses.fields(PriorSettings)}
    assert _keys(CONF / "style" / "_fields.yaml") == {field.name for field in dataclasses.fields(StyleSettings)}
    for style in STYLES:
        assert _keys(CONF / "style" / f"{style}.yaml") <= {"defaults", *_keys(CONF / "style" / "_fields.yaml")}
    beside = {"samples", "class_samples", "units", "variants", "variants_of"}
    for name, kind, more in (
        ("ascent", AscentSettings, set()), ("dgn", RunSettings, beside), ("tops", TopsSettings, set()),
        ("memorisation", MemorisationSettings, set()),
    ):  # fmt: skip
        assert _keys(CONF / "method" / f"{name}.yaml") == {field.name for field in dataclasses.fields(kind)} | more


PRIORS = groups()["prior"]


@pytest.mark.parametrize("prior", PRIORS)
def test_every_prior_of_conf_is_on_offer(prior):
    (settings,) = request(f"priors=[{prior}]").dgn.priors
    assert settings.name == prior


def test_the_priors_of_the_published_generators_have_their_codes_and_images():
    from pipeline.priors.open import locate_prior

    for layer in ("conv3", "fc6", "fc7", "pool5"):
        (settings,) = request(f"priors=[deepsim_{layer}]").dgn.priors
        files = {file.role: file for file in locate_prior(settings)}
        assert files["definition"].present
        assert files["weights"].member == f"release_deepsim_v0/{layer}/generator.caffemodel"
        assert files["range_3x"].url.endswith("/3x/conv5.txt" if layer == "pool5" else f"/3x/{layer}.txt")
    named = [request(f"priors=[deepsim_{layer}]").dgn.priors[0] for layer in ("conv5", "pool5")]
    assert dataclasses.replace(named[0], name="deepsim_pool5") == named[1]  # the paper calls it conv5


@pytest.mark.parametrize(
    ("override", "value", "expected"),
    [
        ("dgn.iterations=7", lambda s: s.settings[""].iterations, 7),
        ("dgn.sigmas=null", lambda s: s.settings[""].sigmas, None),
        ("dgn.penalty=0.005", lambda s: s.settings[""].penalty, 0.005),
        ("dgn.jitter=0.125", lambda s: s.settings[""].jitter, 0.125),
        ("dgn.shrink=1", lambda s: s.settings[""].shrink, 1.0),
        ("dgn.samples=2", lambda s: s.samples, 2),
        ("dgn.class_samples=3", lambda s: s.class_samples, 3),
        ("dgn.units=[fc8]", lambda s: s.units, ("fc8",)),
        ("+dgn.variants.x.clip=true", lambda s: (s.settings[""].clip, s.settings["x"].clip), (False, True)),
        ("dgn.variants={x:{sigmas:2}}", lambda s: s.settings["x"].sigmas, 2.0),
        ("dgn.variants_of=[a]", lambda s: s.variants_of, ("a",)),
        ("+combinations.p.random=50", lambda s: (s.combinations["p"].random, s.combinations["p"].balance), (50, 1.0)),
        ("combination.balance=0", lambda s: s.combinations, {}),
        ("priors=[some/folder]", lambda s: s.priors, (Path("some/folder"),)),
    ],
)
def test_every_number_of_a_search_can_be_set(override, value, expected):
    assert value(request(override).dgn) == expected


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("dgn.shrink=0", r"dgn.shrink: got 0.0, expected \(0, 1\]"),
        ("dgn.jitter=0.5", r"dgn.jitter: got 0.5, expected \[0, 0.5\)"),
        ("dgn.start=nosie", "nearest: noise"),
        ("dgn.sigmas=-1", "expected more than 0, or null"),
        ("dgn.samples=0", "dgn.samples: got 0, expected 1 or more"),
        ("dgn.class_samples=0", "dgn.class_samples: got 0, expected 1 or more"),
        ("dgn.iteratons=3", "nearest: dgn.iterations"),
        ("+dgn.variants.x.sgmas=3", r"dgn.variants.x.sgmas: not a setting \(nearest: sigmas"),
        ("+dgn.variants.x=3", "dgn.variants.x: got 3, expected settings"),
        ("+combinations.p.radnom=3", "nearest: random"),
        ("+combinations.p.balance=-1", "combination.balance: got -1.0, expected 0 or more"),
        ("prior=deepsim_fc6", r"choose by priors=\[deepsim_fc6\]"),
        ("priors=[deepsim_fc5]", "nearest: deepsim_fc"),
    ],
)
def test_a_search_that_cannot_be_is_refused(override, said):
    with pytest.raises(SettingsError, match=said):
        request(override)


def _keys(path: Path) -> set[str]:
    return set(re.findall(r"^\s*(?:- )?([\w]+):", path.read_text(), re.M)) - {"defaults"}


# make ------------------------------------------------------------------------------------------------


@pytest.fixture
def make(tmp_path):
    """Runs a target of the Makefile with a python that only prints its arguments."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    folder = tmp_path / "bin"
    folder.mkdir()
    python = folder / "python"
    python.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    python.chmod(python.stat().st_mode | stat.S_IEXEC)
    for name in ("conv5:0", "a1", "units=[conv5:0-63,fc8:x]", "samples=3"):  # what a glob could find
        (tmp_path / name).touch()

    def run(target: str, **variables: str) -> list[str]:
        given = [f"{name}={value}" for name, value in variables.items()]
        command = ["make", "-s", "-f", str(ROOT / "Makefile"), "-o", ".venv/atlas", f"BIN={folder}", target, *given]
        kept = {name: value for name, value in os.environ.items() if name not in MAKE_VARIABLES}
        done = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize("out", ["plain", "my atlases/first one", "a,b", "a=b (2)", "[x]*", "it{1}"])
def test_make_hands_any_folder_on_as_it_is(make, out):
    module, job, override = make("atlas", OUT=out)
    assert (module, job) == ("-m", "jobs.atlas")
    assert request(override).out == Path(out)


def test_make_takes_nothing_in_arguments_for_file_names(make):
    arguments = make("atlas", MODEL="squeezenet", ARGS="units=[conv5:0-63,fc8:*] samples=? styles=[a-z]*")
    assert arguments[2:] == ["model=squeezenet", "units=[conv5:0-63,fc8:*]", "samples=?", "styles=[a-z]*"]


def test_a_path_with_signs_reaches_the_request_through_arguments(make):
    weights = "/data/my weights, (1)/w=2.pt"
    override = make("atlas", ARGS=f"'model.weights=\"{weights}\"' samples=2")[2]
    assert request(override).model.weights == weights


@pytest.mark.parametrize(
    ("target", "variables", "expected"),
    [
        ("plan", {}, ["jobs.atlas", "plan=true"]),
        ("site", {"OUT": "x"}, ["jobs.site", 'out="x"']),
        ("verify", {"MODEL": "m", "OUT": "x"}, ["jobs.verify", "model=m", 'out="x"']),
        ("publish", {"OUT": "x", "TO": "y"}, ["jobs.publish", 'out="x"', 'to="y"']),
        ("compare", {"ATLASES": "a b", "OUT": "x"}, ["jobs.compare", 'atlases="a b"', 'out="x"']),
        ("layers", {"MODEL": "caffenet"}, ["jobs.layers", "model=caffenet"]),
        ("fetch", {"MODEL": "caffenet"}, ["jobs.fetch", "model=caffenet"]),
        ("sweep", {"MODEL": "m", "JUDGE": "j", "OUT": "x"}, ["jobs.sweep", "model=m", 'out="x"', "model@judge=j"]),
        (
            "interpretability",
            {"MODEL": "m", "DATASET": "d", "JUDGE": "j", "OUT": "x"},
            ["jobs.interpretability", "model=m", "dataset=d", 'out="x"', "model@judge=j"],
        ),
        ("score", {"MODEL": "m", "JUDGE": "j", "OUT": "x"}, ["jobs.score", "model=m", 'out="x"', "model@judge=j"]),
    ],
)
def test_every_job_has_its_target(make, target, variables, expected):
    assert make(target, **variables)[1:] == expected
    assert (Path(console.__file__).parent / f"{expected[0].split('.')[1]}.py").is_file()


def test_a_setting_of_a_value_that_is_none_of_a_list_names_the_way_to_write_it():
    with pytest.raises(SettingsError, match=r"model.gain: got .*expected a list; set it by 'model.gain=\[…\]'"):
        request("model.gain=3")


def test_a_folder_that_no_dataset_reads_is_refused(capsys):
    said = refusal(capsys, "dataset=none", "dataset.root=/photos")
    assert "dataset.root: got /photos, but dataset=none reads no images; choose a dataset" in said


def test_best_images_alone_need_a_dataset(capsys):
    assert "methods: got tops alone, which needs a dataset" in refusal(capsys, "methods=[tops]", "dataset=none")
