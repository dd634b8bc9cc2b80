"""Priors in Caffe's format: what is read from them, and what is refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from caffe_prior import ENTRIES, write_caffe_prior

from pipeline.errors import DefinitionError, DownloadError, SettingsError, WeightsError
from pipeline.priors.card import prior_card
from pipeline.priors.open import open_prior
from pipeline.settings import PriorSettings


def settings(at: Path, **changes: object) -> PriorSettings:
    values = {
        "name": "tiny", "folder": None, "definition": str(at / "generator.prototxt"),
        "weights": str(at / "weights.safetensors"), "weights_url": None, "weights_sha1": None,
        "weights_sha256": None, "mean": (104.0, 117.0, 123.0), "order": "BGR", "network": "caffenet",
        "code_layer": "fc6", "range_3x": str(at / "3x.txt"), "range_3x_sha256": None,
        "range_1x": str(at / "1x.txt"), "range_1x_sha256": None, "trained_on": "nothing", "licence": "free",
    }  # fmt: skip
    return PriorSettings(**(values | changes))


@pytest.fixture
def folder(tmp_path) -> Path:
    write_caffe_prior(tmp_path)
    return tmp_path


def test_a_published_generator_is_a_prior(folder):
    prior = open_prior(settings(folder))
    assert (prior.height, prior.width, prior.order) == (24, 24, "BGR")
    assert (prior.code_shape, prior.code_layer, prior.rectified) == ((ENTRIES,), "fc6", True)
    with torch.no_grad():
        assert prior.generator(torch.ones(2, ENTRIES)).shape == (2, 3, 24, 24)
    assert prior.gain.tolist() == [1, 1, 1]
    again = pickle.loads(pickle.dumps(prior))
    code = torch.linspace(0, 2, ENTRIES)[None]
    assert torch.equal(again.generator(code), prior.generator(code))


def test_its_card_says_what_a_code_costs(folder):
    card = prior_card(open_prior(settings(folder)))
    assert card.macs == ENTRIES * 64 + 16 * 4 * 4 * 16 + 64 * 4 * 3 * 9  # weights times the positions that they are at
    assert card.bytes >= 4 * (64 + 64 + 64 + 4 * 64 + 4 * 64 + 3 * 24 * 24)
    assert card.entries == ENTRIES


def test_ranges_give_mean_and_deviation(folder):
    one, three = (np.loadtxt(folder / f"{sigmas}x.txt") for sigmas in (1, 3))
    both = open_prior(settings(folder))
    np.testing.assert_allclose(both.code_deviation, (three - one) / 2)
    np.testing.assert_allclose(both.code_mean, one - (three - one) / 2)
    alone = open_prior(settings(folder, range_1x=None))
    np.testing.assert_allclose(alone.code_mean + 3 * alone.code_deviation, three, rtol=1e-6)


def test_the_digest_is_of_what_decides_the_pictures(folder, tmp_path):
    digest = open_prior(settings(folder)).digest
    assert open_prior(settings(folder, licence="another")).digest == digest
    write_caffe_prior(tmp_path / "other", seed=1)
    changed = [
        settings(folder, mean=(1.0, 2.0, 3.0)),
        settings(folder, order="RGB"),
        settings(folder, range_1x=None),
        settings(folder, weights=str(tmp_path / "other" / "weights.safetensors")),
    ]
    assert len({digest, *(open_prior(each).digest for each in changed)}) == 5


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"definition": "none.prototxt"}, DefinitionError, "prior.tiny.definition none.prototxt: no such file"),
        ({"weights": "none.caffemodel"}, WeightsError, "prior.tiny.weights none.caffemodel: no such file"),
        ({"range_3x": "none.txt"}, DefinitionError, "prior.tiny.range_3x none.txt: no such file"),
        ({"order": "L"}, DefinitionError, r"the generator gives \(3, 24, 24\), expected \(1, rows, columns\)"),
        ({"mean": (1.0,)}, DefinitionError, "a mean of 3 numbers"),
        ({"folder": "package:nowhere"}, WeightsError, "prior.tiny.folder package:nowhere: no such folder"),
    ],
)
def test_what_is_not_there_or_does_not_fit_is_refused(folder, changes, error, said):
    with pytest.raises(error, match=said):
        open_prior(settings(folder, **changes))


@pytest.mark.parametrize("text", ["1 2 3", "1 2 3 4 5 six", "1 2 3 4 5 nan", ""])
def test_a_range_for_another_code_is_refused(folder, text):
    (folder / "3x.txt").write_text(text)
    with pytest.raises(SettingsError, match=r"prior.tiny.range_3x .*3x.txt: (has \d numbers, the code|cannot be read)"):
        open_prior(settings(folder))


def test_damaged_weights_are_refused(folder):
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(WeightsError):
        open_prior(settings(folder))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("definition", "prior.tiny.definition: missing for a Caffe generator; give it"),
        ("mean", "prior.tiny.mean: missing"),
        ("weights", "prior.tiny.weights: missing"),
        ("range_3x", "range_3x: missing, and codes need bounds to give images"),
    ],
)
def test_an_option_that_leaves_out_what_it_needs_is_refused(folder, name, said):
    with pytest.raises(SettingsError, match=said):
        replace(settings(folder), **{name: None})


def test_published_files_are_fetched_by_their_address(folder):
    asked = []

    def fetcher(url, digests, member, setting):
        asked.append((url, digests.sha256, member, setting))
        if setting.endswith("weights"):
            return folder / "weights.safetensors"
        return folder / ("3x.txt" if "3x" in url else "1x.txt")

    published = settings(
        folder, weights=None, weights_url="http://there/a.zip#fc6/g.caffemodel", range_3x="https://there/3x.txt",
        range_3x_sha256="0" * 64,
    )  # fmt: skip
    assert open_prior(published, fetcher=fetcher).digest == open_prior(settings(folder)).digest
    assert asked == [
        ("http://there/a.zip", None, "fc6/g.caffemodel", "prior.tiny.weights"),
        ("https://there/3x.txt", "0" * 64, None, "prior.tiny.range_3x"),
    ]


def test_an_address_that_cannot_be_reached_names_the_setting(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("ATLAS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DownloadError, match="give its path by prior.tiny.weights=PATH"):
        open_prior(settings(folder, weights=None, weights_url="http://127.0.0.1:9/a.zip#g.caffemodel"))
