"""Write the groups of the memorisation tests."""

from __future__ import annotations

import numpy as np

from atlas_viewer import format
from atlas_viewer.evidence.dgn import RUN
from atlas_viewer.evidence.memorisation import MEMORISATION
from pipeline.methods.memorisation.task import settings_of
from pipeline.store.merging import Writer
from pipeline.store.pictures import pictures_digest


class TestsWriter(Writer):
    """Writes the tests of runs whose pictures are in the file."""

    def write_rest(self) -> None:
        merge, plan = self.merge, self.merge.plan
        layer, settings = plan.card.class_layer, settings_of(plan)
        row = {number: place for place, number in enumerate(sorted(merge.work.images))}
        names = format.group_names(plan.layer_names("dgn", layer)) if layer is not None else {}
        for test in merge.work.results.get("memorisation") or ():
            pictures = merge.file[RUN.at(layer=merge.groups[layer], run=names[test.run])]["pixels"]
            about = {
                "run": test.run,
                "pictures": pictures_digest(pictures),
                "layer": layer,
                "samples": test.nearest.shape[1],
                "most_images": settings.images,
                "most_typical": settings.typical,
            }
            group = MEMORISATION.create(merge.file, about, run=names[test.run])
            grid = (len(test.units), pictures.shape[1], len(test.spaces))
            nearest, distance = np.full(grid, -1, np.int32), np.full(grid, np.nan, np.float32)
            nearest[:, : test.nearest.shape[1]] = np.vectorize(lambda number: row.get(number, -1))(test.nearest)
            distance[:, : test.distance.shape[1]] = test.distance
            arrays = {
                "spaces": list(test.spaces),
                "unit": np.array(test.units, np.int32),
                "images": test.compared,
                "nearest": nearest,
                "distance": distance,
                "typical": test.typical,
            }
            for name, values in arrays.items():
                MEMORISATION[name].write(group, values)
            merge.packages.update(test.packages)


WRITERS = {"memorisation": TestsWriter}
