"""Fold the blocks of a dataset into one while others are computed, so that few of them lie on the disk.

If the images of each class are spread over the dataset, a block has a sum for nearly each class and unit, and all
blocks of ImageNet together take far more than their sum. Blocks are folded in the order of their images, as the
reduction adds them: the result has the same bits, whichever of them were folded, and when.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.errors import MissingBlockError, ShardError
from pipeline.methods.tops.blocks import JOIN, layer_arrays, source_of
from pipeline.methods.tops.result import FoldedNames
from pipeline.methods.tops.stored_blocks import AHEAD, StoredBlocks
from pipeline.methods.tops.task import STEP, WAITING_BYTES, MineTask
from pipeline.methods.tops.total import Total
from pipeline.records import Record, record_digest
from pipeline.store.shard import Arrays, ShardFolder, encode_shard, write_whole

_THREADS, _MEMORY = 8, 2e9  # most layers that are folded at a time, and bytes of their sums of classes


class Folding:
    """Folds blocks in a thread of its own, while other blocks are computed.

    folded : how many of the first blocks are folded.
    """

    def __init__(self, tasks: Sequence[MineTask], shards: ShardFolder) -> None:
        self._tasks, self._shards, self._names = tasks, shards, FoldedNames(tasks)
        self.folded = self._names.stored(shards)
        self._sizes: list[int] = []  # bytes of the blocks from `folded` on, up to the first that is missing
        self._least = self._worth_it()
        self._thread: threading.Thread | None = None
        self._fault: Exception | None = None
        self._stopped = False

    def stored(self) -> None:
        """A block was stored: begin to fold if enough wait. Raises what went wrong in the thread, once."""
        if self._thread is not None:
            if self._thread.is_alive():
                return
            self._join()
        while (ready := self.folded + len(self._sizes)) < len(self._tasks):
            path = self._shards.path(self._tasks[ready].id)
            if not path.is_file():
                break
            self._sizes.append(path.stat().st_size)
        until = ready - ready % STEP
        if sum(self._sizes[: until - self.folded]) >= self._least:
            self._thread = threading.Thread(target=self._fold, args=(until,), name="fold")
            self._thread.start()

    def close(self, *, stop: bool = False) -> None:
        """Wait for the thread. stop : it gives up what it is folding, whose blocks then stay as they are."""
        self._stopped = stop
        if self._thread is not None:
            self._join()

    def _join(self) -> None:
        self._thread.join()
        self._thread = None
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    def _fold(self, until: int) -> None:
        try:
            if fold(self._tasks, self._shards, self.folded, until, lambda: self._stopped):
                self._sizes = self._sizes[until - self.folded :]
                self.folded = until
            self._least = self._worth_it()
        except (ShardError, MissingBlockError):  # the reduction will say which block is damaged, and what to do
            self._least = float("inf")
        except Exception as error:
            self._fault = error

    def _worth_it(self) -> float:
        """Bytes of blocks that are worth folding; the sum that they are added to is written anew."""
        held = self._names.ids(self.folded) if self.folded else ()
        return max(WAITING_BYTES, sum(self._shards.path(one).stat().st_size for one in held))


def fold(tasks: Sequence[MineTask], shards: ShardFolder, folded: int, until: int, stopped: Callable[[], bool]) -> bool:
    """Replace the first blocks by their sum; return whether that was completed.

    folded : how many of them are folded already.
    until : how many are folded afterwards, a multiple of STEP.
    A run that dies meanwhile loses nothing: blocks are removed when the sum is complete, and its facts are stored last.
    Raises ShardError for a damaged block, MissingBlockError for a missing one, OutputError if the sum cannot be stored.
    """
    names = FoldedNames(tasks)
    blocks = StoredBlocks(tasks[:until], shards, folded)
    mining = tasks[0].mining

    def store(layer: str) -> None:
        if stopped():
            return
        source = source_of(blocks.array, layer)
        if source is not None and source.rule == JOIN:  # its parts are folded
            arrays = {path: blocks.array(path) for path in (f"{layer}/about", f"{layer}/source")}
        else:
            total = Total.of(blocks.layer(layer), k=mining.tops.k, classes=len(mining.dataset.classes))
            arrays = layer_arrays(layer, total.block(), source)
        _write(shards, names.record(until, layer), arrays, {})

    done = False
    try:
        with ThreadPoolExecutor(_threads(blocks, tasks[0])) as pool:
            list(pool.map(store, tasks[0].layers))
        if not stopped():
            facts = {
                "skipped": [[bad.image, bad.key, bad.reason] for bad in blocks.skipped],
                "packages": sorted(blocks.packages),
            }
            _write(shards, names.record(until, None), {}, facts)
            done = True
    finally:
        kept = names.ids(until) if done else names.ids(folded) if folded else ()
        shards.discard(set(names.every()).difference(kept))
    if done:
        shards.discard(task.id for task in tasks[:until])
    return done


def _write(shards: ShardFolder, record: Record, arrays: Arrays, facts: Mapping[str, object]) -> None:
    write_whole(shards.path(record_digest(record)), encode_shard(record, arrays, facts))


def _threads(blocks: StoredBlocks, task: MineTask) -> int:
    """How many layers are folded at a time, so that the sums of their classes fit the memory."""
    widest = 1
    for layer in task.layers:
        source = source_of(blocks.array, layer)
        if source is None or source.rule != JOIN:
            widest = max(widest, len(blocks.array(f"{layer}/active")))
    sums = 8 * widest * max(1, len(task.mining.dataset.classes))
    each = sums * (3 + AHEAD)  # the sum, the block that is added, the encoded sum, and blocks that are read ahead
    return max(1, min(_THREADS, os.cpu_count() or 1, int(_MEMORY / each)))
