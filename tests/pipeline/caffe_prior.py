"""A tiny prior in the published form: a Caffe definition, generated weights, files of the codes' range."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

ENTRIES = 6
_DEFINITION = """
name: "tiny_prior"
input: "feat"
input_shape { dim: 1 dim: ENTRIES }
layer { name: "de2" type: "InnerProduct" bottom: "feat" top: "de2" inner_product_param { num_output: 64 } }
layer { name: "relu2" type: "ReLU" bottom: "de2" top: "de2" relu_param { negative_slope: 0.3 } }
layer { name: "shape" type: "Reshape" bottom: "de2" top: "map" reshape_param { shape { dim: 0 dim: 4 dim: 4 dim: 4 } } }
layer { name: "up1" type: "Deconvolution" bottom: "map" top: "up1"
        convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 } }
layer { name: "relu1" type: "ReLU" bottom: "up1" top: "up1" relu_param { negative_slope: 0.3 } }
layer { name: "up0" type: "Deconvolution" bottom: "up1" top: "up0"
        convolution_param { num_output: 3 kernel_size: STRIDE stride: STRIDE pad: 0 } }
"""


def write_caffe_prior(folder: Path, seed: int = 0, scale: int = 3, entries: int = ENTRIES) -> None:
    """Images of 8 · scale pixels, blue first; definition, weights.safetensors, 3x.txt and 1x.txt."""
    random = np.random.RandomState(seed)
    shapes = {
        "de2": ((64, entries), (64,)),
        "up1": ((4, 4, 4, 4), (4,)),
        "up0": ((4, 3, scale, scale), (3,)),
    }
    blobs = {}
    for name, (weight, bias) in shapes.items():
        spread = {"de2": 1.0, "up1": 0.7, "up0": 30.0}[name]
        blobs[f"{name}.0"] = random.normal(0, spread, weight).astype(np.float32)
        blobs[f"{name}.1"] = random.normal(0, 0.1, bias).astype(np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(blobs, str(folder / "weights.safetensors"))
    (folder / "generator.prototxt").write_text(
        _DEFINITION.replace("STRIDE", str(scale)).replace("ENTRIES", str(entries))
    )
    mean, deviation = random.randint(1, 3, entries), random.randint(1, 3, entries)
    for sigmas in (1, 3):
        (folder / f"{sigmas}x.txt").write_text(" ".join(str(entry) for entry in mean + sigmas * deviation) + "\n")


def overrides(folder: Path, name: str = "deepsim_fc6") -> list[str]:
    """The option of conf/prior, turned to the files in the folder."""
    return [
        f"priors=[{name}]",
        f'prior.{name}.definition="{folder / "generator.prototxt"}"',
        f'prior.{name}.weights="{folder / "weights.safetensors"}"',
        f'prior.{name}.range_3x="{folder / "3x.txt"}"',
        f'prior.{name}.range_1x="{folder / "1x.txt"}"',
    ]
