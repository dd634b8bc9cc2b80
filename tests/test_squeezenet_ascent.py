"""Pictures of a real network's units excite them more than any of a thousand photos does."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atlas_viewer.atlas import Atlas
from jobs.atlas import atlas
from jobs.console import compose_config

UNITS = {"conv10": range(20), "fire9/concat": range(20)}


def photo_maxima(test_data: Path) -> dict[str, np.ndarray]:
    """The largest value of each unit over all positions of all photos, by a plain loop."""
    from pipeline.nets.caffe import caffe_network

    network = caffe_network(
        "squeezenet",
        test_data / "squeezenet_v1.1.prototxt",
        test_data / "squeezenet_v1.1.caffemodel",
        order="BGR",
        mean=(104.0, 117.0, 123.0),
    )
    largest = {layer: np.full(len(units), -np.inf) for layer, units in UNITS.items()}
    with tarfile.open(test_data / "photos-1000.tar") as tar:
        for member in tar:
            if not member.isfile():
                continue
            photo = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")
            pixels = np.asarray(photo.resize((256, 256), Image.Resampling.BILINEAR).crop((14, 14, 241, 241)))
            image = torch.from_numpy(network.preprocessing.centred(pixels)[None])
            with torch.no_grad():
                values = network.run(image, list(UNITS))
            for layer, units in UNITS.items():
                maxima = values[layer][0, list(units)].flatten(1).amax(dim=1).numpy()
                largest[layer] = np.maximum(largest[layer], maxima)
    return largest


@pytest.mark.slow
def test_pictures_exceed_the_maximum_over_a_thousand_photos(test_data, tmp_path):
    overrides = [
        "model=squeezenet",
        f'model.weights="{test_data / "squeezenet_v1.1.caffemodel"}"',
        f'out="{tmp_path}"',
        "units=[conv10:0-19,fire9/concat:0-19]",
        "styles=[low_frequency]",
        "style.low_frequency.max_iter=80",
        "samples=1",
        "cluster=serial",
        "pages=false",
    ]
    assert atlas(compose_config("atlas", overrides)) == 0
    largest = photo_maxima(test_data)
    with Atlas(tmp_path / "atlas.h5") as made:
        for layer, maxima in largest.items():
            found = made[layer].pictures("low_frequency").activation[:, 0]
            share = float(np.mean(found > maxima))
            assert share >= 0.9, f"{layer}: {share:.0%} exceed the photos' maximum"
