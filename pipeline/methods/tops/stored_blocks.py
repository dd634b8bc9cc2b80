"""The blocks of a dataset as a folder has them: the first of them folded into one, the others each in its shard."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from pipeline.data.batches import Skipped
from pipeline.errors import MissingBlockError
from pipeline.methods.tops.blocks import LayerBlock, read_layer
from pipeline.methods.tops.result import FoldedNames
from pipeline.methods.tops.task import MineTask
from pipeline.records import Record, record_digest
from pipeline.store.shard import Shard, ShardFolder

AHEAD = 4  # blocks of a layer that threads decompress ahead; at most that many and one shards are open


class StoredBlocks:
    """A dataset's first blocks, in the order of their images.

    folded : how many of them are folded into one.
    skipped : the images that were left out, in order.
    packages : versions that computed the blocks.
    """

    def __init__(self, tasks: Sequence[MineTask], shards: ShardFolder, folded: int) -> None:
        """Verifies every block once. Raises ShardError for a damaged shard, MissingBlockError for a missing one."""
        self.folded, self._tasks, self._shards = folded, tasks, shards
        self.skipped: list[Skipped] = []
        self.packages: set[str] = set()
        self._names = FoldedNames(tasks)
        if folded:
            self._take(self._folded(None, verified=False).facts)
            for name in tasks[0].layers:
                self._folded(name, verified=False)
        for task in tasks[folded:]:
            facts = self._block(task, verified=False).facts
            if task.flaw(facts) is not None:
                raise MissingBlockError(task.words)
            self._take(facts)

    def layer(self, name: str) -> Iterator[LayerBlock]:
        """A layer of every block in order; threads decompress the next few."""
        if self.folded:
            yield read_layer(self._array_of_folded, name)
        waiting: deque[Future[LayerBlock]] = deque()
        with ThreadPoolExecutor(AHEAD) as pool:
            for task in self._tasks[self.folded :]:
                waiting.append(pool.submit(self._layer_of, task, name))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def array(self, path: str) -> np.ndarray:
        """An array of the first block, "LAYER/FIELD". Raises KeyError if it has none."""
        if self.folded:
            return self._array_of_folded(path)
        return self._block(self._tasks[0], verified=True).array(path)

    def _take(self, facts: dict) -> None:
        self.skipped += [Skipped(*bad) for bad in facts["skipped"]]
        self.packages.update(facts["packages"])

    def _layer_of(self, task: MineTask, name: str) -> LayerBlock:
        return read_layer(self._block(task, verified=True).array, name)

    def _array_of_folded(self, path: str) -> np.ndarray:
        return self._folded(path.rpartition("/")[0], verified=True).array(path)

    def _block(self, task: MineTask, *, verified: bool) -> Shard:
        return self._read(task.id, task.record(), task.words, verified)

    def _folded(self, layer: str | None, *, verified: bool) -> Shard:
        record = self._names.record(self.folded, layer)
        return self._read(record_digest(record), record, f"the first {self.folded} blocks", verified)

    def _read(self, shard_id: str, record: Record, words: str, verified: bool) -> Shard:
        shard = self._shards.read(shard_id, record, verified=verified)
        if shard is None:
            raise MissingBlockError(words)
        return shard
