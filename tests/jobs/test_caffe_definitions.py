"""A Caffe definition with layers that cannot be computed: the table and the atlas of the others, and a note."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from jobs.atlas import atlas
from jobs.console import run_job
from jobs.layers import layers

DEFINITION = """\ufeffname: "net"
input: "data"
input_dim: 1 input_dim: 3 input_dim: 16 input_dim: 16
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 3 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
  convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "roi" type: "Python" bottom: "conv2" top: "roi" python_param { module: "m" layer: "L" } }
layer { name: "fc" type: "InnerProduct" bottom: "roi" top: "fc" inner_product_param { num_output: 5 } }
""".replace("\n", "\r\n")
NOTE = "left out: roi (Python): has a type that cannot be computed here; and above: fc"
SMALL = (
    "experiment=null", "styles=[low_frequency]", "style.low_frequency.max_iter=3", "style.sparse.max_iter=3",
    "samples=1", "device=cpu", "cluster=serial", "pages=false",
)  # fmt: skip


@pytest.fixture
def model(tmp_path):
    """The settings of the model: a definition with a byte order mark and Windows line ends, and its weights."""
    draw = np.random.default_rng(0)
    (tmp_path / "net.prototxt").write_text(DEFINITION, newline="")
    shapes = {"conv1.0": (3, 3, 3, 3), "conv1.1": (3,), "conv2.0": (2, 3, 3, 3), "conv2.1": (2,)}
    save_file(
        {name: draw.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()},
        tmp_path / "w.safetensors",
    )
    return (
        "model=caffe", "model.name=net", f'model.definition="{tmp_path}/net.prototxt"',
        f'model.weights="{tmp_path}/w.safetensors"',
    )  # fmt: skip


def code(job, config: str, *overrides: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run_job(job, config, "", list(overrides))
    return ended.value.code


def test_the_table_ends_with_the_note(model, capsys):
    assert code(layers, "layers", *model) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[4:-2]] == ["conv1", "relu", "conv2", "relu#2"]
    assert lines[-1] == NOTE


def test_the_log_of_an_atlas_has_the_note_and_the_atlas_the_layers(model, tmp_path, capsys):
    out = tmp_path / "out"
    assert code(atlas, "atlas", *model, *SMALL, f'out="{out}"', 'units=["conv2:*","relu#2:1"]') == 0
    assert capsys.readouterr().err.splitlines().count(NOTE) == 1
    with h5py.File(out / "atlas.h5") as file:
        names: list[str] = []
        file.visit(names.append)
    assert any("conv2" in name for name in names) and not any("fc" in name.split("/") for name in names)


@pytest.mark.parametrize("job", [layers, atlas])
def test_a_class_layer_above_is_an_error_of_one_line(job, model, tmp_path, capsys):
    config, rest = ("layers", ()) if job is layers else ("atlas", (*SMALL, f'out="{tmp_path}/out"'))
    assert code(job, config, *model, *rest, "model.class_layer=fc") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "class layer fc cannot be computed, because of roi (Python)" in line
