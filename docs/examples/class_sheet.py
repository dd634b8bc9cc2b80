"""Draw the best picture of every class unit side by side, with enhanced contrast, into a PNG file.

python docs/examples/class_sheet.py atlases/doodlenet/atlas.h5 low_frequency classes.png
"""

import sys

import numpy as np

from atlas_viewer import Atlas
from atlas_viewer.montage import hatched, save, stretch, whole_layer


def main(path: str, style: str, target: str) -> None:
    with Atlas(path) as atlas:
        layer = next(layer for layer in atlas if layer.info.class_layer)
        pictures = layer.ascent[style]
        mean = pictures.mean_under(atlas.mean, layer.window)
        cells = [
            stretch(pictures.pixels[row, sample], mean) if sample >= 0 else hatched(pictures.size)
            for row, sample in enumerate(pictures.best_sample)
        ]
    save(target, whole_layer(np.stack(cells)))
    print(f"{len(cells)} classes in {target}")


if __name__ == "__main__":
    main(*sys.argv[1:4])
