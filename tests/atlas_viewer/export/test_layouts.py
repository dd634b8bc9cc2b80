"""An atlas for other programs: the names, the sizes and the pictures that they expect."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atlas_viewer.atlas import Atlas
from atlas_viewer.errors import AtlasError, MissingError
from atlas_viewer.export import parquet
from atlas_viewer.export.layouts import LAYOUTS, export
from atlas_viewer.montage import GREY, stretch

ALL = {"conv1": [0, 1, 2, 3, 4], "mixed.3a": [2, 3, 5, 7], "fc8": [0, 1, 2, 3, 4, 5]}
MINED = ALL | {"relu1": [0, 1, 2, 4]}


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {".atlas-site"}


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def exported(generated_atlas, tmp_path_factory):
    """The folder of each layout that needs no further package."""
    root = tmp_path_factory.mktemp("exported")
    for layout in ("toolbox", "milan", "montages"):
        assert export(generated_atlas, layout, root / layout, 20) == len(files(root / layout))
    return root


def test_the_toolbox_finds_its_files(exported):
    expected = {f"regularized_opt/{layer}/whole_layer.jpg" for layer in ALL}
    expected |= {f"regularized_opt/{layer}/{layer}_{n:04d}_montage.jpg" for layer in ALL for n in ALL[layer]}
    kinds = {path.split("/")[0] for path in files(exported / "toolbox")} - {"regularized_opt"}
    assert "max_im" in kinds and kinds <= {"max_im", "max_deconv"}
    expected |= {f"max_im/{layer}/{layer}_{n:04d}.jpg" for layer in MINED for n in MINED[layer]}
    found = files(exported / "toolbox")
    assert {path for path in found if not path.startswith("max_deconv")} == expected
    deconv = {path.replace("max_deconv", "max_im") for path in found if path.startswith("max_deconv")}
    assert deconv and deconv <= expected


def test_the_toolbox_shows_the_lower_left_block(exported, generated_atlas):
    """It takes the third block of two by two and trims three pixels on each side of it."""
    shown = picture(exported / "toolbox" / "regularized_opt" / "mixed.3a" / "mixed.3a_0005_montage.jpg")
    side, half = 12, shown.shape[0] // 2
    assert shown.shape == (6 * side + 20, 6 * side + 20, 3)
    block = shown[half:, :half][3:-3, 3:-3]  # low_frequency: three samples, then grey
    with Atlas(generated_atlas) as atlas:
        unit = atlas.unit("mixed/3a:5")
        images = stretch(unit.ascent["low_frequency"].images, atlas.mean)
    for sample in range(3):
        cell = block[:side, sample * (side + 2) :][:, :side]
        assert np.abs(cell.astype(int) - images[sample]).mean() < 25  # JPEG of noise
    assert np.abs(block[side + 4 :].astype(int) - GREY).max() < 40


def test_a_whole_layer_is_divisible_and_in_the_order_of_numbers(exported, generated_atlas):
    for layer, channels in (("conv1", 5), ("mixed.3a", 8), ("fc8", 6)):
        side = int(np.ceil(np.sqrt(channels)))
        height, width = picture(exported / "toolbox" / "regularized_opt" / layer / "whole_layer.jpg").shape[:2]
        assert height == width and height % side == 0
    sheet = picture(exported / "montages" / "mixed.3a" / "ascent.sparse.png")
    cells = sheet.reshape(3, 12, 3, 12, 3).swapaxes(1, 2).reshape(9, 12, 12, 3)
    with Atlas(generated_atlas) as atlas:
        layer = atlas["mixed/3a"]
        for number in range(9):
            row = layer.units.tolist().index(number) if number in layer.units else -1
            best = layer.ascent["sparse"].best_sample[row] if row >= 0 else -1
            expected = GREY if best < 0 else stretch(layer.ascent["sparse"].pixels[row, best], atlas.mean)
            assert (cells[number] == expected).all()


def test_montages_show_every_setting_and_the_best_patches(exported):
    expected = {f"{layer}/ascent.{style}.png" for layer in ALL for style in ("low_frequency", "sparse")}
    expected |= {f"{layer}/images.png" for layer in MINED} | {f"{layer}/dgn.toy.png" for layer in ALL}
    assert expected <= files(exported / "montages")
    assert picture(exported / "montages" / "fc8" / "ascent.sparse.png").shape == (60, 60, 3)  # reduced from 24 to 20


def test_milan_loads_what_it_expects(exported, generated_atlas):
    with Atlas(generated_atlas) as atlas:
        for layer in atlas:
            folder, tops = exported / "milan" / layer.key, layer.tops("largest")
            images, masks = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("images", "masks"))
            units = np.load(folder / "units.npy")
            assert images.shape == (len(units), tops.image.shape[1], 3, 224, 224) and images.dtype == np.uint8
            assert masks.shape == (*images.shape[:2], 1, 224, 224) and units.ndim == 1 and units.dtype == np.int64
            with (folder / "ids.csv").open(newline="") as file:
                ids = np.array(list(csv.reader(file)), int)
            for place, unit in enumerate(units.tolist()):
                row = layer.units.tolist().index(unit)
                hits = {hit.rank: hit for hit in tops.at(row).hits}
                for rank in range(tops.image.shape[1]):
                    assert masks[place, rank].any() == (rank in hits) and ids[place, rank] == (
                        hits[rank].number if rank in hits else -1
                    )
                    if rank in hits:
                        top, left, bottom, right = hits[rank].window
                        share = (bottom - top) * (right - left) / (24 * 24)
                        assert masks[place, rank].mean() == pytest.approx(share, abs=0.02)


def test_without_images_milan_is_refused_in_one_line(sound_atlas, tmp_path):
    with pytest.raises(MissingError, match="has no images; make it with DATASET="):
        export(sound_atlas, "milan", tmp_path / "out", 20)
    assert not list(tmp_path.iterdir())


def test_without_pyarrow_parquet_is_refused_in_one_line(sound_atlas, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "installed", lambda package: False)
    with pytest.raises(MissingError, match="pyarrow is not installed; install it with pip install pyarrow"):
        export(sound_atlas, "parquet", tmp_path / "out", 20)
    assert not list(tmp_path.iterdir())


def test_parquet_has_a_row_for_each_unit_picture_and_hit(generated_atlas, tmp_path):
    reader = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    assert export(generated_atlas, "parquet", tmp_path / "out", 20) == len(files(tmp_path / "out"))
    tables = {name: reader.read_table(tmp_path / "out" / f"{name}.parquet") for name in ("units", "pictures", "hits")}
    with Atlas(generated_atlas) as atlas:
        climbs = [climb for layer in atlas for climb in (*layer.ascent.values(), *layer.dgn.values())]
        assert tables["units"].num_rows == len(atlas.units())
        assert tables["pictures"].num_rows == sum(climb.activation.size for climb in climbs)
        hits = [hit for layer in atlas for kind in layer.kinds for unit in layer for hit in unit.tops(kind).hits]
        assert tables["hits"].num_rows == len(hits)
        first = tables["pictures"].to_pylist()[0]
        image = np.asarray(Image.open(io.BytesIO(first["picture"]["bytes"])))
        pictures = next(iter(atlas["conv1"][0].ascent.values()))
        assert (image == pictures.images[0]).all() and first["activation"] == pictures.activation[0]
    features = json.loads(tables["hits"].schema.metadata[b"huggingface"])["info"]["features"]
    assert features["patch"] == {"_type": "Image"} and set(features) == set(tables["hits"].schema.names)


def test_a_folder_with_something_else_is_left_alone(generated_atlas, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(AtlasError, match="holds something other than"):
        export(generated_atlas, "montages", tmp_path, 20)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_every_layout_is_tested_and_documented():
    said = Path(__file__).parents[3].joinpath("docs", "reading.md").read_text()
    assert all(f"`LAYOUT={layout}`" in said for layout in LAYOUTS)
