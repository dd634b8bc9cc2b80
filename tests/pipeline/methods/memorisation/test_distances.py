"""Nearest images of a class: against a loop over all pairs, ties, cuts, and what there is nothing to find for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_prior import network

from pipeline.methods.memorisation.distances import Distances, class_distances

WINDOW = (1, 0, 10, 11)  # of 11 x 11
LAYERS = ("conv1", "fc")
CPU = torch.device("cpu")


def drawn(count: int, seed: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 256, (count, 11, 11, 3)).astype(np.uint8)


def cut(numbers: list[int], pixels: np.ndarray, size: int):
    """Batches of one shape of the pictures pixels[number]."""
    for start in range(0, len(numbers), size):
        own = numbers[start : start + size]
        yield np.array(own), pixels[own + own[-1:] * (size - len(own))], len(own)


def measured(pictures: np.ndarray, images: np.ndarray, references: list[int], size: int = 4) -> Distances:
    rest = [number for number in range(len(images)) if number not in references]
    return class_distances(
        network(), LAYERS, cut(list(range(len(pictures))), pictures, size), cut([*references, *rest], images, size),
        window=WINDOW, references=set(references), device=CPU,
    )  # fmt: skip


def spaces(picture: np.ndarray) -> list[np.ndarray]:
    """The picture in every space, alone."""
    net, (top, left, bottom, right) = network(), WINDOW
    centred = np.zeros((1, 3, 11, 11), np.float32)
    inside = net.preprocessing.centred(picture[None])[:, :, top:bottom, left:right]
    centred[:, :, top:bottom, left:right] = inside
    with torch.no_grad():
        values = net.run(torch.from_numpy(centred), LAYERS)
    return [picture[top:bottom, left:right], *(values[name].numpy() for name in LAYERS)]


def apart(one: np.ndarray, other: np.ndarray) -> float:
    total = 0.0
    for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True):
        total += (a - b) ** 2
    return total**0.5


def test_distances_agree_with_a_loop_over_pairs():
    pictures, images = drawn(3, 0), drawn(9, 1)
    found = measured(pictures, images, [2, 5, 7, 8, 3])
    assert found.spaces == ("pixels", "conv1", "fc")
    assert found.references.tolist() == [2, 3, 5, 7, 8]
    seen = [spaces(image) for image in images]
    for space in range(3):
        for row, picture in enumerate(pictures):
            expected = [apart(spaces(picture)[space], image[space]) for image in seen]
            np.testing.assert_allclose(found.to_pictures[space, row], expected, rtol=1e-5)
        for row, number in enumerate(found.references):
            expected = [apart(seen[number][space], image[space]) for image in seen]
            expected[number] = np.nan
            np.testing.assert_allclose(found.between[space, row], expected, rtol=1e-5)
    image, distance = found.nearest()
    for row, space in np.ndindex(image.shape):
        expected = [apart(spaces(pictures[row])[space], one[space]) for one in seen]
        assert image[row, space] == np.argmin(expected)
        np.testing.assert_allclose(distance[row, space], min(expected), rtol=1e-5)
    for space, typical in enumerate(found.typical()):
        own = [min(apart(seen[number][space], seen[other][space]) for other in range(9) if other != number)
               for number in found.references]  # fmt: skip
        np.testing.assert_allclose(typical, np.median(own), rtol=1e-5)


def test_a_copy_is_at_no_distance_and_the_earlier_of_two_wins():
    images = drawn(6, 2)
    images[4] = images[1]
    picture = images[4:5].copy()
    picture[:, 0], picture[:, 10] = 0, 255  # outside the window nothing counts
    for references in ([4, 5], [0, 1, 4], list(range(6))):
        found = measured(picture, images, references)
        image, distance = found.nearest()
        assert image.tolist() == [[1, 1, 1]]
        assert distance.tolist() == [[0, 0, 0]]


def test_near_copies_far_from_zero_keep_their_digits():
    """In single precision |a|² + |b|² − 2ab of pictures that differ by one level would be lost in its rounding."""
    images = np.full((2, 11, 11, 3), 255, np.uint8)
    images[1, 5, 5, 0] = 253
    picture = images[:1].copy()
    picture[0, 5, 5, 0] = 254
    found = measured(picture, images, [0, 1])
    assert found.to_pictures[0].tolist() == [[1, 1]]
    assert found.typical()[0] == 2


def test_how_images_are_cut_into_references_and_batches_moves_no_bit():
    """Batches of one shape in another order, with other neighbours."""
    pictures, images = drawn(2, 3), drawn(10, 4)
    one, other = measured(pictures, images, [0, 9]), measured(pictures[::-1], images, [9, 4, 1, 0, 6, 7])
    assert np.array_equal(one.images, other.images)
    assert np.array_equal(one.to_pictures, other.to_pictures[:, ::-1])
    assert np.array_equal(one.between, other.between[:, [0, 5]], equal_nan=True)


def test_a_class_without_images_has_no_nearest():
    found = measured(drawn(2, 5), drawn(0, 6), [])
    image, distance = found.nearest()
    assert (image == -1).all()
    assert np.isnan(distance).all()
    assert np.isnan(found.typical()).all()
    alone = measured(drawn(2, 5), drawn(1, 6), [0])
    assert (alone.nearest()[0] == 0).all()
    assert np.isnan(alone.typical()).all()


def test_what_is_no_number_is_nearest_to_nothing():
    found = measured(drawn(1, 7), drawn(4, 8), [0, 1])
    found.to_pictures[1, 0, :] = np.nan
    found.to_pictures[2, 0, 2] = -np.inf
    image, distance = found.nearest()
    assert image[0, 1] == -1
    assert np.isnan(distance[0, 1])
    assert image[0, 2] in (0, 1, 3)


def test_references_come_first():
    images = drawn(8, 9)
    with pytest.raises(ValueError, match="expected the references first"):
        class_distances(
            network(), LAYERS, cut([0], images, 4), cut([0, 1, 2, 3, 4, 5], images, 4),
            window=WINDOW, references={5}, device=CPU,
        )  # fmt: skip
