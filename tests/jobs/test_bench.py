"""What `make bench` measures memory with: a worker watched from outside, its curve drawn."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.bench import ascent_on_cones, growth, memory, others, precision, question, record
from jobs.bench.__main__ import OF_A_GPU, main
from jobs.bench.figures import Figures
from jobs.console import compose_config
from jobs.request import read_settings
from pipeline.errors import SettingsError
from pipeline.nets.open_network import open_network
from pipeline.settings import ModelSettings

QUESTIONS = [name for name in question.names() if name != OF_A_GPU]


def test_a_tar_that_is_not_there_is_named(capsys):
    with pytest.raises(SettingsError, match=r"/nowhere.tar: no such file; name a tar of images by images=PATH"):
        main(["memory", "images=/nowhere.tar"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["device=cuda"], "bench device=cuda: torch finds no GPU on this machine"),
        (["device=cdua"], "device: got 'cdua'"),
        (["fiel=a.json"], "bench: got 'fiel'"),
    ],
)
def test_a_gpu_that_is_not_there_and_misspelt_options_are_named(arguments, said):
    with pytest.raises(SettingsError, match=said):
        main(arguments)


def test_a_worker_is_watched_until_it_has_read_every_image():
    curve = memory._watched(None, 40)
    assert curve.images[-1] == 40 and (np.diff(curve.images) >= 0).all()
    assert curve.resident.min() > 50e6 and curve.before > 50e6  # torch alone is more


def test_curves_are_drawn_where_they_lie(tmp_path):
    def drawn(level: float) -> np.ndarray:
        images = np.arange(1, 1001)
        low = memory.Curve(1000, images, np.full(1000, level), int(1e8))
        high = memory.Curve(1000, images, np.full(1000, 4e8), int(1e8))
        memory.draw([low, high], tmp_path / "new" / "plot.png")
        return np.asarray(Image.open(tmp_path / "new" / "plot.png").convert("RGB")).astype(int)

    def height(picture: np.ndarray) -> float:
        """The row of the lighter line, in the columns left of the middle."""
        part = picture[:, 100:300]
        return float(np.median(np.flatnonzero(((part[..., 0] - part[..., 2]) > 40).sum(axis=1) > 150)[-2:]))

    assert height(drawn(2e8)) > height(drawn(3.9e8)) + 50


def test_the_picture_of_the_docs_is_small():
    assert (Path(__file__).parents[2] / "docs" / "mining-memory.png").stat().st_size < 60_000


def test_a_layers_figures_compare_precisions_with_each_other_and_with_one_image_at_a_time():
    figures, asked = Figures(), []

    def climbed(precision: str, iterations: int) -> SimpleNamespace:
        asked.append((precision, iterations))
        reached = np.full((batches[precision], 1), 3.0 if precision == "bf16" else 4.0)
        return SimpleNamespace(best=SimpleNamespace(activation_float=reached), spent=sum(range(20_000 * iterations)))

    batches, peaks = {"float32": 8, "bf16": 16}, {"float32": 1e9, "bf16": 8e9}
    ascent_on_cones.compare(
        figures, "fc", batches, climbed, lambda: sum(range(200_000)), 10, peaks, runs=3,
        others={"another": lambda: sum(range(600_000))},
    )  # fmt: skip
    rows = {name: value for name, value, _ in figures.rows}
    assert rows["fc, another"] > 0
    assert rows["fc, activation reached in bf16"] == 0.75
    for one, batch in batches.items():
        words = f"fc, micro-batch of {batch}, {one}"
        rate = rows[words]
        assert rate > 0 and rows[f"{words}, to one image at a time"] > 0 and rows[f"{words}, to another"] > 0
        assert rows[f"{words}, share of the peak"] == pytest.approx(100 * rate * 10 / peaks[one])
    assert set(asked) == {(one, iterations) for one in batches for iterations in (1, 5, 12)}


def test_other_programs_climb_where_they_are_installed(monkeypatch):
    for name in ("lucent", "torch_dreams"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "jobs.zoo.vision", SimpleNamespace(torchvision=None))
    network = open_network(read_settings(ModelSettings, compose_config("atlas", ["model=doodlenet"]).model, "model"))
    assert others.other_programs(network) == {}
    seen, size = [], network.preprocessing

    def render_vis(model, objective, *, thresholds, fixed_image_size, **options):
        model.get_submodule(objective.split(":")[0]).register_forward_hook(lambda *told: seen.append(told[2]))
        image = torch.ones(1, size.channels, *fixed_image_size)
        for _ in range(max(thresholds)):
            seen.append(model(image))

    for name in ("lucent", "lucent.optvis", "lucent.optvis.render"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(render_vis=render_vis))
    programs, (first, *_, last) = others.other_programs(network), network.layers
    assert list(programs) == ["lucent"]
    expected = network.run(torch.ones(1, size.channels, size.height, size.width), [first, last])
    programs["lucent"](first, 1)
    assert [torch.equal(one, expected[name]) for one, name in zip(seen, (first, last), strict=True)] == [True, True]


def test_pictures_in_bf16_are_held_against_those_in_float32():
    figures, reached = Figures(), {"float32": [4.0, 0.0, 2.0], "bf16": [3.0, 1.0, 2.0]}

    def climb(precision: str, units: list[int]) -> SimpleNamespace:
        return SimpleNamespace(best=SimpleNamespace(activation_float=np.array(reached[precision])[:, None]))

    precision._compare(figures, "fc", climb, [5, 6, 7])
    assert figures.rows == [
        ("fc: units that float32 activates", 2, "of 3"),
        ("fc: activation in bf16", 0.875, "of float32's"),
    ]
    assert precision._same_names(["cat, house cat", "dog"], ["dog, hound", "cat"]) == [1, 0]


def test_a_record_has_what_was_measured_where_and_with_which_spread(tmp_path, monkeypatch, capsys):
    def measure(short: bool) -> Figures:
        figures = Figures()
        figures.add_median("steps of <fc8>", [30.0, 10.0, 20.0], "steps/s")
        figures.add("share", 0.5, "")
        return figures

    monkeypatch.setattr("jobs.bench.windows.measure", measure)
    main(["windows", f"file={tmp_path / 'new' / 'a.json'}"])
    written = json.loads((tmp_path / "new" / "a.json").read_text())
    assert written["machine"]["processor"] and torch.__version__ in written["versions"]["torch"]
    asked = written["answers"]["windows"]
    assert asked["seconds"] >= 0 and asked["cpu seconds"] >= 0
    assert asked["figures"] == [
        {"name": "steps of <fc8>", "value": 20.0, "unit": "steps/s", "low": 15.0, "high": 25.0},
        {"name": "share", "value": 0.5, "unit": ""},
    ]
    capsys.readouterr()
    (tmp_path / "new" / "b.json").write_text(json.dumps(written).replace("20.0", "40.0"))
    record.main([str(tmp_path / "new" / name) for name in ("a.json", "b.json")])
    page = capsys.readouterr().out
    assert "steps of &lt;fc8&gt;" in page and "<fc8>" not in page
    assert page.count('<div style="width:50.0%">') == 1 and page.count('<div style="width:100.0%">') == 3
    with pytest.raises(SettingsError, match="nothing.json: no record of make bench"):
        record.main([str(tmp_path / "nothing.json")])


def test_points_of_a_curve_are_drawn_on_logarithmic_axes_beside_what_grows_in_proportion():
    figures = Figures()
    for units, seconds in ((8, 1.0), (32, 2.0), (128, 4.0)):
        figures.add_point("pages", units, "units", seconds, "s")
    asked = record.answer("growth", figures, 1.0, 1.0)
    assert [(row["name"], row["curve"], row["at"]) for row in asked["figures"]][2] == ("pages, 128 units", "pages", 128)
    about = {"machine": {"processor": "one", "cores": 2}, "commit": None, "versions": {}, "answers": {"growth": asked}}
    proportional, curve = (
        [tuple(map(float, point.split(","))) for point in part.split('"')[0].split()]
        for part in record.page({"a": about}).split('<polyline points="')[1:]
    )
    (left, bottom), middle, (right, top) = curve
    assert middle == pytest.approx(((left + right) / 2, (bottom + top) / 2)) and top < bottom
    assert proportional[0] == (left, bottom)
    assert bottom - proportional[1][1] == pytest.approx(2 * (bottom - top))  # twice the power of the curve


def test_an_atlas_of_any_number_of_units_is_made_stage_by_stage():
    made = growth.make_wide(2)
    assert list(made.seconds) == ["plan", "tasks", "merge", "pages"] and min(made.seconds.values()) >= 0
    assert made.atlas > 10_000 and made.pages > 10_000 and made.memory > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("asked", QUESTIONS)
def test_each_question_gets_an_answer(asked, capsys):
    main([asked])
    answer = capsys.readouterr().out
    assert f"\n{asked}: " in answer and len(answer.splitlines()) > 4
