"""Find pairs of units of different layers that prefer the same images of the dataset.

python docs/examples/prefer_alike.py atlases/doodlenet/atlas.h5
"""

import sys
from itertools import combinations

from atlas_viewer import Atlas

SHOWN = 10  # pairs


def main(path: str) -> None:
    with Atlas(path) as atlas:
        preferred = {
            unit.address: {hit.number for hit in unit.top.hits}
            for layer in atlas
            if "largest" in layer.kinds
            for unit in layer
        }
    shared = {
        (a, b): len(preferred[a] & preferred[b])
        for a, b in combinations(preferred, 2)
        if a.rpartition(":")[0] != b.rpartition(":")[0]
    }
    best = sorted(shared, key=lambda pair: -shared[pair])[:SHOWN]
    for a, b in best:
        print(f"{a} and {b} share {shared[a, b]} of their {len(preferred[a])} best images")
    if not best:
        print("the atlas has no images of two layers to compare")


if __name__ == "__main__":
    main(sys.argv[1])
