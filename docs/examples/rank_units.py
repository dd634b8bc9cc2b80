"""List the units whose pictures exceed the dataset's best image by the most, layer by layer.

python docs/examples/rank_units.py atlases/doodlenet/atlas.h5
"""

import sys

from atlas_viewer import Atlas

SHOWN = 5  # units of each layer


def main(path: str) -> None:
    with Atlas(path) as atlas:
        table = atlas.units()
    if table.ratio.isna().all():
        print("the atlas has no dataset, so units are listed by the activation of their pictures")
    by = "best" if table.ratio.isna().all() else "ratio"
    for layer, units in table.groupby("layer", sort=False):
        print(f"{layer}: {len(units)} units, {int(units.dead.fillna(False).sum())} dead")
        for unit in units.nlargest(SHOWN, by).itertuples():
            print(f"  {layer}:{unit.unit} {unit.label:20} best {unit.best:.4g}, ratio {unit.ratio:.3g}")


if __name__ == "__main__":
    main(sys.argv[1])
