"""Mining against the brute-force loop: every image alone in a padded batch, everything sorted."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.methods.tops import topk
from pipeline.methods.tops.blocks import BlockResult
from pipeline.methods.tops.mine import MineSettings, mine_block
from pipeline.methods.tops.topk import Hits
from pipeline.nets.caffe import caffe_network
from pipeline.nets.device_images import Batch, centred
from pipeline.nets.network import Network
from pipeline.nets.preprocessing import Preprocessing

sys.path.insert(0, str(Path(__file__).parents[2] / "nets"))  # the networks that tests of networks share

from networks import NETWORKS

CPU = torch.device("cpu")
ALL = MineSettings(k=4, smallest=True, own_class=True, quantiles=True, positions=True)


@dataclass(frozen=True)
class Case:
    """A network and images for it, (image, row, column, rgb) uint8."""

    network: Network
    pixels: np.ndarray
    batch: int

    @property
    def layers(self) -> list[str]:
        return list(self.network.layers)

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Batches of one shape, padded by repeats of the last image."""
        for first in range(start, stop, self.batch):
            numbers = np.arange(first, min(first + self.batch, stop))
            padded = np.minimum(np.arange(first, first + self.batch), stop - 1)
            yield numbers, self.pixels[padded], len(numbers)

    def mine(self, start: int, stop: int, settings: MineSettings = ALL, **changes) -> BlockResult:
        asked = {"layers": self.layers, "classes": 4, "labels": {n: n % 4 for n in range(len(self.pixels))}}
        asked |= {"sample": range(len(self.pixels)), "position_sample": range(len(self.pixels))} | changes
        layers = asked.pop("layers")
        return mine_block(self.network, layers, self.batches(start, stop), settings=settings, device=CPU, **asked)

    def alone(self, image: int, batch: int) -> dict[str, np.ndarray]:
        """Every layer's map of one image, sent through in a batch of its own, (unit, position)."""
        pixels = self.pixels[np.full(batch, image)]
        with torch.inference_mode():
            values = self.network.run(centred(self.network.preprocessing, pixels, CPU), self.layers)
        return {name: value[0].flatten(1 if value.dim() == 4 else 0).numpy() for name, value in values.items()}


def small_case(name: str, images: int = 23) -> Case:
    network = NETWORKS[name]()
    size = network.preprocessing
    pixels = np.random.default_rng(1).integers(0, 256, (images, size.height, size.width, 3), np.uint8)
    pixels[7] = pixels[3]  # the same picture twice: a tie in every unit
    return Case(network, pixels, 4)


def maps_alone(case: Case, batch: int) -> dict[str, np.ndarray]:
    """(image, unit, position) of every layer, by the loop."""
    maps = [case.alone(image, batch) for image in range(len(case.pixels))]
    return {
        name: np.stack([found[name] for found in maps]).reshape(len(maps), layer.channels, -1)
        for name, layer in case.network.layers.items()
    }


def sort_everything(maps: np.ndarray, width: int, k: int, *, smallest: bool = False) -> Hits:
    """The k best, from the maps (image, unit, position), by sorting tuples."""
    hits = Hits.empty(maps.shape[1], k)
    for unit in range(maps.shape[1]):
        rows = []
        for image, map_ in enumerate(maps[:, unit]):
            value, place = map_.max(), int(map_.argmax())
            rows.append((value if smallest else -value, image, place // width, place % width))
        for rank, (value, image, row, column) in enumerate(sorted(rows)[:k]):
            hits.value[unit, rank] = value if smallest else -value
            hits.image[unit, rank], hits.row[unit, rank], hits.column[unit, rank] = image, row, column
    return hits


def assert_equal(a: Hits, b: Hits) -> None:
    for name in topk.FIELDS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


def merged(parts: list[BlockResult], layer: str, k: int, kind: str = "largest") -> Hits:
    total = getattr(parts[0].layers[layer], kind)
    for part in parts[1:]:
        total = topk.merge(total, getattr(part.layers[layer], kind), k, smallest=kind == "smallest")
    return total


def random_partition(images: int, parts: int, seed: int) -> list[tuple[int, int]]:
    """Cuts anywhere, in any order."""
    random = np.random.default_rng(seed)
    cuts = np.sort(random.choice(np.arange(1, images), parts - 1, replace=False))
    spans = list(zip([0, *cuts.tolist()], [*cuts.tolist(), images], strict=True))
    return [spans[at] for at in random.permutation(parts)]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("parts", [1, 2, 5, 7])
def test_hits_are_those_of_the_loop_for_any_partition(name, parts):
    case = small_case(name)
    maps = maps_alone(case, case.batch)
    found = [case.mine(*span) for span in random_partition(len(case.pixels), parts, seed=parts)]
    for layer in case.layers:
        width = case.network.layer(layer).width
        assert_equal(merged(found, layer, 4), sort_everything(maps[layer], width, 4))
        smallest = sort_everything(maps[layer], width, 4, smallest=True)
        assert_equal(merged(found, layer, 4, "smallest"), smallest)


@pytest.mark.parametrize("name", NETWORKS)
def test_another_batch_size_moves_values_by_rounding_alone(name):
    case = small_case(name)
    maps, mined = maps_alone(case, 1), case.mine(0, len(case.pixels))
    for layer in case.layers:
        want = sort_everything(maps[layer], case.network.layer(layer).width, 4)
        np.testing.assert_allclose(mined.layers[layer].largest.value, want.value, rtol=1e-5, atol=1e-6)


def test_statistics_of_a_block_are_those_of_all_its_values():
    case = small_case("caffenet_like")
    maps, mined = maps_alone(case, case.batch), case.mine(0, len(case.pixels))
    for layer in case.layers:
        block, values = mined.layers[layer], maps[layer].astype(np.float64)
        maxima = values.max(axis=2)
        for moments, want in (
            (block.maxima, maxima.T),
            (block.positions, values.swapaxes(0, 1).reshape(len(values[0]), -1)),
        ):
            assert (moments.count == want.shape[1]).all()
            np.testing.assert_allclose(moments.mean, want.mean(axis=1), rtol=1e-5, atol=1e-5 * np.abs(want).max())
            np.testing.assert_allclose(moments.variance, want.var(axis=1), rtol=1e-4, atol=1e-9)
            assert (moments.least == want.min(axis=1)).all() and (moments.most == want.max(axis=1)).all()
        assert (block.position_counts.sum(axis=1) == values.shape[0] * values.shape[2]).all()
        assert (block.active == (maxima > 0).sum(axis=0)).all()
        assert (block.sample_values == maxima.astype(np.float32)).all()
        np.testing.assert_array_equal(block.sample_places, maps[layer].argmax(axis=2))
        for row, label in enumerate(block.classes):
            np.testing.assert_allclose(block.class_sums[row], maxima[label::4].sum(axis=0), rtol=1e-12)


@pytest.mark.parametrize("name", ["caffenet_like", "inception_like"])
def test_layers_that_follow_from_others_equal_those_measured_on_their_own(name):
    case = small_case(name)
    together = case.mine(0, len(case.pixels))
    assert {source.rule for source in together.sources.values()} == {"relu" if name == "caffenet_like" else "join"}
    for layer in together.sources:
        alone = case.mine(0, len(case.pixels), layers=[layer])
        assert not alone.sources
        same_block(alone.layers[layer], together.layers[layer])


def test_a_result_survives_as_named_arrays():
    case = small_case("inception_like")
    mined = case.mine(0, 9)
    arrays = mined.arrays()
    assert all(array.size for array in arrays.values())  # nothing empty is stored
    back = BlockResult.of_arrays(
        {name: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape) for name, a in arrays.items()}
    )
    assert list(back.layers) == case.layers and back.sources == mined.sources
    for layer in case.layers:
        same_block(mined.layers[layer], back.layers[layer])


def test_a_block_of_no_images_is_empty():
    case = small_case("caffenet_like")
    nothing, everything = case.mine(0, 0), case.mine(0, 9)
    nothing = BlockResult.of_arrays(nothing.arrays())
    for layer in case.layers:
        assert (nothing.layers[layer].largest.image == -1).all()
        assert nothing.layers[layer].maxima.count.tolist() == [0] * nothing.layers[layer].units
        merged_hits = topk.merge(nothing.layers[layer].largest, everything.layers[layer].largest, ALL.k)
        assert_equal(merged_hits, everything.layers[layer].largest)


def test_only_what_is_asked_for_is_kept():
    case = small_case("caffenet_like")
    block = case.mine(0, 9, MineSettings(2, False, False, False, False), sample={3, 5, 100}).layers["conv2"]
    assert block.smallest is None and block.own_class is None
    assert block.positions is None and block.position_counts is None
    assert block.sample_images.tolist() == [3, 5]
    back = BlockResult.of_arrays(case.mine(0, 9, MineSettings(2, False, False, False, False), sample=()).arrays())
    assert back.layers["conv2"].sample_values.shape == (0, 8)


def test_the_class_layer_keeps_the_best_of_each_units_own_class():
    case = small_case("caffenet_like")
    layer, classes = case.network.class_layer, 5
    assert layer == "fc6"
    labels = {image: image % 6 - 1 for image in range(len(case.pixels))}  # some of no class
    block = case.mine(0, len(case.pixels), classes=classes, labels=labels).layers[layer]
    maps = maps_alone(case, case.batch)[layer][:, :, 0]
    for unit in range(classes):
        own = [image for image, label in labels.items() if label == unit]
        best = sorted(own, key=lambda image: (-maps[image, unit], image))[:4]
        assert block.own_class.image[unit].tolist() == best + [-1] * (4 - len(best))
    assert case.mine(0, 9, classes=classes).layers["prob"].own_class is None
    assert case.mine(0, 9, classes=4).layers[layer].own_class is None  # its units are not the data set's classes


def test_images_whose_values_are_no_numbers_are_left_out_and_counted():
    case = small_case("caffenet_like")
    good = case.mine(0, len(case.pixels), layers=["conv1", "relu1", "pool1"])
    weight = case.network.operator("conv1").weight
    weight[3] = float("nan")
    bad = case.mine(0, len(case.pixels), layers=["conv1", "relu1", "pool1"])
    for layer in ("conv1", "relu1"):
        block = bad.layers[layer]
        assert block.not_a_number.tolist() == [0, 0, 0, len(case.pixels), 0, 0, 0, 0]
        assert (block.largest.image[3] == -1).all() and (block.smallest.image[3] == -1).all()
        assert block.positions.count[3] == block.position_counts[3].sum() == block.maxima_counts[3].sum() == 0
        others = np.arange(8) != 3
        assert (block.largest.image[others] == good.layers[layer].largest.image[others]).all()
        assert (block.positions.mean[others] == good.layers[layer].positions.mean[others]).all()


@pytest.mark.parametrize("order", ["RGB", "BGR", "L"])
@pytest.mark.parametrize("mean", [[104.0], [104.00699], "map"])
def test_images_are_centred_as_everywhere_else(order, mean):
    channels = 1 if order == "L" else 3
    random = np.random.default_rng(0)
    levels = random.uniform(90, 130, (channels, 5, 6)) if mean == "map" else np.array(mean * channels)
    preprocessing = Preprocessing(5, 6, order, levels, np.ones(channels))
    pixels = random.integers(0, 256, (2, 5, 6, 3), np.uint8)
    np.testing.assert_array_equal(centred(preprocessing, pixels, CPU).numpy(), preprocessing.centred(pixels))


def test_the_network_is_left_as_it_was():
    case = small_case("resnet_like")
    image = torch.ones(1, 3, 41, 44)
    before = case.network.run(image, case.layers)
    case.mine(0, 5)
    after = case.network.run(image, case.layers)
    assert all(torch.equal(before[layer], after[layer]) for layer in case.layers)


@cache
def photos(path: Path, count: int, height: int, width: int) -> np.ndarray:
    pixels = []
    with tarfile.open(path) as tar:
        for member in tar:
            if member.isfile() and len(pixels) < count:
                picture = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGB")
                pixels.append(np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)))
    return np.stack(pixels)


def squeezenet_case(test_data: Path, count: int) -> Case:
    weights = test_data / "squeezenet_v1.1.caffemodel"
    network = caffe_network(
        "squeezenet", test_data / "squeezenet_v1.1.prototxt", weights, order="BGR", mean=(104.0, 117.0, 123.0)
    )
    return Case(network, photos(test_data / "photos-1000.tar", count, 227, 227), 8)


def check_photos(case: Case, partitions: list[int], alone: range) -> None:
    """Hits do not depend on the partition; those images that the loop looks at have the loop's values in it."""
    count = len(case.pixels)
    whole = case.mine(0, count, classes=1000, labels={image: image for image in range(count)})
    for parts in partitions:
        found = [
            case.mine(*span, classes=1000, labels={image: image for image in range(count)})
            for span in random_partition(count, parts, seed=parts)
        ]
        for layer in case.layers:
            for kind in ("largest", "smallest"):
                want = getattr(whole.layers[layer], kind)
                assert_equal(merged(found, layer, ALL.k, kind), want)
    for image in alone:
        maps, single = case.alone(image, case.batch), case.alone(image, 1)
        for layer in case.layers:
            block, map_ = whole.layers[layer], maps[layer].reshape(case.network.layer(layer).channels, -1)
            np.testing.assert_array_equal(block.sample_values[image], map_.max(axis=1))
            np.testing.assert_array_equal(block.sample_places[image], map_.argmax(axis=1))
            scale = np.abs(map_).max()
            near = single[layer].reshape(map_.shape).max(axis=1)
            np.testing.assert_allclose(near, map_.max(axis=1), rtol=1e-5, atol=1e-5 * scale)
    for layer in case.layers:  # the sample is every image, so its order is the brute-force order
        block = whole.layers[layer]
        hits = topk.best_images(block.sample_values, block.sample_images, block.sample_places, block.width, ALL.k)
        assert_equal(hits, block.largest)


def test_squeezenet_finds_the_same_photos_for_any_partition_and_as_the_loop(test_data):
    check_photos(squeezenet_case(test_data, 60), [3], range(0, 60, 6))


@pytest.mark.slow
def test_squeezenet_finds_the_same_in_a_thousand_photos(test_data):
    check_photos(squeezenet_case(test_data, 1000), [2, 3, 4, 5, 6, 7], range(1000))


def same_block(a, b) -> None:
    """Equal in every field, down to the last bit."""
    for name in a.__dataclass_fields__:
        left, right = getattr(a, name), getattr(b, name)
        if hasattr(left, "__dataclass_fields__"):
            for part in left.__dataclass_fields__:
                np.testing.assert_array_equal(getattr(left, part), getattr(right, part), err_msg=f"{name}.{part}")
        else:
            np.testing.assert_array_equal(left, right, err_msg=name)
