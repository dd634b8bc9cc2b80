"""Back-projections: the pixels of an image that excited a unit at a position."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch

from pipeline.errors import SettingsError, UnitError
from pipeline.nets.backward import RULES, BackwardPass
from pipeline.nets.cone import Cone, FullPass, cone_pattern
from pipeline.nets.network import Network
from pipeline.nets.window import Window, frames, is_local

LRN = ("derivative", "ignore")
_WHOLE = 0.75  # share of the whole image's work above which larger batches save more than cones do


@dataclass(frozen=True)
class BackProjections:
    """The effect of pixels on each hit's unit, in the order of the hits.

    rules : in the order in which they were requested.
    signals : float32 (rule, hit, channel, y, x), activation per pixel level, channels in the network's order; zero
        outside the window. y and x count from the hit's frame.
    frames : int32 (hit, 2), first row and column of the frame: the layer's window, not clipped to the image (so they
        may be negative); the whole image if such a window is larger than the image.
    windows : int32 (hit, 4), the pixels that the position depends on: top, left, bottom, right, half-open.
    activation : float32 (hit,), the unit's value, computed again.
    halved : how often the micro-batch was halved because the device was out of memory.
    """

    rules: tuple[str, ...]
    signals: np.ndarray
    frames: np.ndarray
    windows: np.ndarray
    activation: np.ndarray
    halved: int


@torch.no_grad()
def back_project(
    network: Network,
    layer: str,
    images: Sequence[np.ndarray],
    units: np.ndarray,
    positions: np.ndarray,
    *,
    rules: Sequence[str] = RULES,
    lrn: str,
    batch: int,
    device: torch.device,
) -> BackProjections:
    """Send a signal of 1.0 back from each hit's unit at its position, by every rule, after one shared forward pass.

    images : one image per hit, as array or list: the whole input or the hit's window cut out of it, as uint8 (row,
        column, rgb) or centred float (channel, row, column).
    units : (hit,).
    positions : (hit, 2), row and column of the layer's map; (0, 0) for a fully connected layer.
    rules : some of "deconvnet", "gradient", "guided" (see BackwardPass).
    lrn : "derivative", or "ignore" to pass deconvnet's signal through local response normalization unchanged.
    batch : maximum number of hits at a time.
    device : the network's device.

    Hits run together if the cones of their positions have the same shape; borders add further shapes. A layer whose
    window is nearly the whole image runs on the whole image, and all hits share one shape.
    Raises UnitError for a unit or position that the layer does not have, SettingsError for an unknown rule,
    torch.cuda.OutOfMemoryError if a micro-batch of one hit does not fit.
    """
    units, positions = np.asarray(units, np.int64), np.asarray(positions, np.int64).reshape(-1, 2)
    _check(network, layer, images, units, positions, rules, lrn)
    result = _empty(network, layer, positions, tuple(rules))
    halved = 0
    for cone, hits in _groups(network, layer, positions):
        done = 0
        while done < len(hits):
            chosen = hits[done : done + batch]
            given = [_centred(images[hit], Window(*map(int, result.windows[hit])), cone) for hit in chosen]
            try:
                activation, signals = _run(cone, given, units[chosen], positions[chosen], rules, lrn, device)
            except torch.cuda.OutOfMemoryError:
                if batch == 1:
                    raise
                signals = None  # the failed call's tensors live until this block is left
            if signals is None:
                torch.cuda.empty_cache()
                batch, halved = batch // 2, halved + 1
                continue
            result.activation[chosen] = activation
            for hit, signal in zip(chosen, np.moveaxis(signals, 1, 0), strict=True):
                _place(result, hit, cone, signal)
            done += len(chosen)
    return replace(result, halved=halved)


def encode8(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Encode signed numbers in 8 bits: uint8 of the array's shape, and each hit's scale, float32 (hit,).

    array : float (hit, …).
    The value is (byte − 128) · scale, with an error of at most half a scale. The scale is the hit's largest magnitude
    / 127, so that zero stays zero and the largest magnitude fits.
    Raises ValueError for numbers that are not finite.
    """
    array = np.asarray(array)
    encoded, scale = np.full(array.shape, 128, np.uint8), np.zeros(len(array), np.float32)
    for hit, values in enumerate(array):  # one at a time: it stays in the cache
        steps = np.array(values, np.float64, order="C")
        largest = max(steps.max(initial=0.0), -steps.min(initial=0.0))
        if not math.isfinite(largest):
            raise ValueError("encode8: the array holds numbers that are not finite, expected finite ones")
        scale[hit] = largest / 127
        if scale[hit] > 0:
            steps /= np.float64(scale[hit])
            np.rint(steps, out=steps)
            np.clip(steps, -128, 127, out=steps)
            steps += 128
            encoded[hit] = steps
    return encoded, scale


def _check(
    network: Network,
    layer: str,
    images: Sequence[np.ndarray],
    units: np.ndarray,
    positions: np.ndarray,
    rules: Sequence[str],
    lrn: str,
) -> None:
    for name, value, choices in (*(("rule", rule, RULES) for rule in rules), ("lrn", lrn, LRN)):
        if value not in choices:
            raise SettingsError(f"back-projection {name}: got {value!r}, expected one of {', '.join(choices)}")
    if not len(images) == len(units) == len(positions):
        raise ValueError(f"back_project: got {len(images)} images, {len(units)} units and {len(positions)} positions")
    target = network.layer(layer)
    shape = (target.channels, target.height, target.width)
    for hit in np.column_stack([units, positions]):
        if not all(0 <= at < size for at, size in zip(hit, shape, strict=True)):
            raise UnitError(f"layer {layer}: no unit {hit[0]} at {hit[1]}, {hit[2]}; its shape is {shape}")


def _empty(network: Network, layer: str, positions: np.ndarray, rules: tuple[str, ...]) -> BackProjections:
    """The result before any hit is computed: frames and windows are filled in."""
    rows, columns = (frames(network, layer, axis) for axis in (0, 1))
    row, column = positions.T
    corners = np.stack([rows.first[row], columns.first[column]], axis=1).astype(np.int32)
    edges = [rows.start[row], columns.start[column], rows.stop[row], columns.stop[column]]
    shape = (len(rules), len(positions), network.preprocessing.channels, rows.size, columns.size)
    activation = np.full(len(positions), np.nan, np.float32)
    windows = np.stack(edges, axis=1).astype(np.int32)
    return BackProjections(rules, np.zeros(shape, np.float32), corners, windows, activation, 0)


def _groups(network: Network, layer: str, positions: np.ndarray) -> Iterator[tuple[Cone, np.ndarray]]:
    """Yield each group of hits that can run together, with a cone of their shape."""
    if len(positions) == 0:
        return
    whole, centre = FullPass(network, layer), Cone(network, layer)
    if not is_local(network, layer) or centre.macs() > _WHOLE * whole.macs():
        yield whole, np.arange(len(positions))
        return
    pattern = cache(lambda at, axis: cone_pattern(network, layer, at, axis))
    groups: dict[tuple[Hashable, Hashable], list[int]] = {}
    for hit, (row, column) in enumerate(positions.tolist()):
        groups.setdefault((pattern(row, 0), pattern(column, 1)), []).append(hit)
    for hits in groups.values():
        row, column = positions[hits[0]].tolist()
        yield Cone(network, layer, (row, column)), np.array(hits)


def _centred(image: np.ndarray, window: Window, cone: Cone) -> np.ndarray:
    """What a cone reads of a hit's image, float32 (channel, row, column)."""
    preprocessing = cone.network.preprocessing
    pixels = image.dtype == np.uint8
    size = image.shape[:2] if pixels else image.shape[1:]
    rows, columns = slice(window.top, window.bottom), slice(window.left, window.right)
    if size == (preprocessing.height, preprocessing.width):
        image = image[rows, columns] if pixels else image[:, rows, columns]
    elif size != (window.height, window.width):
        raise ValueError(f"back_project: got an image of {size}, expected the whole input or the window {window}")
    mean = preprocessing.full_mean[:, rows, columns]
    read = preprocessing.centred(image, mean) if pixels else np.asarray(image, np.float32)
    if not isinstance(cone, FullPass):
        return read
    whole = np.zeros((preprocessing.channels, preprocessing.height, preprocessing.width), np.float32)
    whole[:, rows, columns] = read  # pixels outside the window have no effect
    return whole


def _run(
    cone: Cone,
    images: Sequence[np.ndarray],
    units: np.ndarray,
    positions: np.ndarray,
    rules: Sequence[str],
    lrn: str,
    device: torch.device,
) -> tuple[np.ndarray, np.ndarray]:
    """Activations (hit,) and signals (rule, hit, channel, row, column) over what the cone reads."""
    given = torch.from_numpy(np.stack(images)).to(device)
    at = positions if isinstance(cone, FullPass) else np.zeros_like(positions)
    whose = torch.from_numpy(units).to(device), torch.from_numpy(at).to(device)
    run = BackwardPass(cone, given, ignore_norms=lrn == "ignore")
    return run.activations(*whose).cpu().numpy(), run.signals(*whose, rules).cpu().numpy()


def _place(result: BackProjections, hit: int, cone: Cone, signal: np.ndarray) -> None:
    """Write a hit's signals (rule, channel, row, column) into its frame."""
    top, left, bottom, right = result.windows[hit]
    if isinstance(cone, FullPass):
        signal = signal[:, :, top:bottom, left:right]
    row, column = result.frames[hit]
    result.signals[:, hit, :, top - row : bottom - row, left - column : right - column] = signal
