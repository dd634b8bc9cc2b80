"""The networks for photos: their layers, their cost, and the accuracy of the shipped weights on new photos."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.data.open_source import open_source
from pipeline.data.training_images import Pictures, read_pictures
from pipeline.dataset_settings import DatasetSettings
from pipeline.nets.tinynet import SIZE, tinyjudge, tinynet
from pipeline.training.classifiers.photos import GREY, measure, photo_recipe
from pipeline.training.weights_file import read_about

WEIGHTS = Path(__file__).parents[3] / "pipeline" / "weights"
BUILDS = {"tinynet": tinynet, "tinyjudge": tinyjudge}


def test_tinynet_has_the_layers_of_caffenet_but_for_response_normalisation() -> None:
    names = [name for name, _ in tinynet(classes=200).named_children()]
    convolutions = [f"conv{number}" for number in range(1, 6)]
    assert [name for name in names if name.startswith(("conv", "fc"))] == [*convolutions, "fc6", "fc7", "fc8"]
    assert [name for name in names if name.startswith("pool")] == ["pool1", "pool2", "pool5"]
    assert not [name for name in names if name.startswith(("bn", "norm"))]


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_the_networks_can_be_traced(build) -> None:
    network, images = build(classes=7).eval(), torch.randn(2, 3, SIZE, SIZE)
    assert torch.equal(torch.fx.symbolic_trace(network)(images), network(images))


def test_the_form_for_training_takes_smaller_photos() -> None:
    network = tinynet(classes=7, normalised=True).eval()
    assert network(torch.randn(2, 3, 48, 48)).shape == network(torch.randn(2, 3, SIZE, SIZE)).shape == (2, 7)


@pytest.fixture(scope="module")
def photos(test_data, tmp_path_factory) -> Pictures:
    """The 5,000 photos that neither network was trained on."""
    settings = DatasetSettings(
        kind="tar", name=None, root=str(test_data / "tiny-val.tar"), labels=str(test_data / "tiny-labels.txt"),
        classes=None, limit=None, preprocess="resize", reduced_decoding=False, bad_share=0.0, block=256, seed=0,
        count=1, size=SIZE,
    )  # fmt: skip
    return read_pictures(
        open_source(settings, cache=tmp_path_factory.mktemp("cache")),
        height=SIZE, width=SIZE, preprocess="resize", fill=GREY, bad_share=0.0,
        folder=tmp_path_factory.mktemp("photos"), threads=2, log=lambda line: None,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "least"), [("tinynet", 0.418), ("tinyjudge", 0.27)])
def test_shipped_weights_name_as_many_photos_as_their_metadata_say(name: str, least: float, photos: Pictures) -> None:
    path = WEIGHTS / f"{name}.safetensors"
    about, network = read_about(path), BUILDS[name](classes=200)
    network.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    assert (about["classes"], about["held_out"]) == (list(photos.names), photos.digest)
    found = measure(photo_recipe(path), network.eval(), photos, photos)
    assert found.top1 == pytest.approx(about["metrics"]["top1"], abs=0.002)  # the last digits depend on the machine
    assert found.top1 >= least


def test_what_comes_of_photos_is_small_together() -> None:
    files = [*WEIGHTS.glob("tiny*.safetensors"), *WEIGHTS.glob("priors/tinynet_*/*")]
    assert sum(file.stat().st_size for file in files) <= 40_000_000
