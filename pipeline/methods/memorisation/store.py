"""Write the groups of the memorisation tests."""

from __future__ import annotations

import numpy as np

from atlas_viewer import format
from atlas_viewer.evidence.dgn import RUN
from atlas_viewer.evidence.memorisation import MEMORISATION
from pipeline.methods.memorisation.task import MEMORISATION_REVISION, settings_of, tested_runs
from pipeline.store.held import same_attributes
from pipeline.store.merging import Writer
from pipeline.store.pictures import pictures_digest


class TestsWriter(Writer):
    """Writes the tests of runs whose pictures are in the file."""

    def write_rest(self) -> None:
        merge, plan = self.merge, self.merge.plan
        layer, settings = plan.card.class_layer, settings_of(plan)
        row = {number: place for place, number in enumerate(sorted(merge.images))}
        names = format.group_names(plan.layer_names("dgn", layer)) if layer is not None else {}
        tests = {test.run: test for test in merge.work.results.get("memorisation") or ()}
        for run in tested_runs(plan):
            root, held = MEMORISATION.at(run=names[run]), merge.held.named("/memorisation", "run", run)
            if run not in tests:
                if held is not None and "memorisation" not in merge.work.results:  # not reached yet in this run
                    merge.keep(root, held)
                continue
            test = tests[run]
            with merge.parts.opened(RUN.at(layer=merge.groups[layer], run=names[run])) as run_group:
                digest, samples = pictures_digest(run_group["pixels"]), run_group["pixels"].shape[1]
            about = {
                "run": run,
                "revision": MEMORISATION_REVISION,
                "pictures": digest,
                "layer": layer,
                "samples": test.nearest.shape[1],
                "most_images": settings.images,
                "most_typical": settings.typical,
            }
            grid = (len(test.units), samples, len(test.spaces))
            nearest, distance = np.full(grid, -1, np.int32), np.full(grid, np.nan, np.float32)
            nearest[:, : test.nearest.shape[1]] = np.vectorize(lambda number: row.get(number, -1))(test.nearest)
            distance[:, : test.distance.shape[1]] = test.distance
            arrays = {
                "space": list(test.spaces),
                "unit": np.array(test.units, np.int32),
                "images": test.compared,
                "nearest": nearest,
                "distance": distance,
                "typical": test.typical,
            }
            merge.packages.update(test.packages)
            if held is not None and same_attributes(held, about) and np.array_equal(held["nearest"], nearest):
                merge.keep(root, held)
                continue
            with merge.parts.part(root) as part:
                group = MEMORISATION.create(part.file, about, run=names[run])
                for name, values in arrays.items():
                    MEMORISATION[name].write(group, values)
            merge.merged += [task.id for task in merge.work.tasks.get("memorisation", ()) if task.run == run]


WRITERS = {"memorisation": TestsWriter}
