"""Caffe's layers that join blobs, cut them up, or give them another shape."""

from __future__ import annotations

import math

from pipeline.nets.caffe.place import Chain, Place, choice, decimal
from pipeline.nets.caffe.weights import Shape
from pipeline.nets.operators import Concat, Identity, Maximum, Operator, Product, Reshape, Slice, Sum


def eltwise(place: Place) -> Operator:
    settings = place.layer.eltwise_param
    operation = choice(settings, "operation")
    if len(set(place.shapes)) > 1:
        raise place.refuse(f"reads shapes {', '.join(map(str, place.shapes))}, expected equal ones")
    if settings.coeff and (operation != "SUM" or len(settings.coeff) != len(place.shapes)):
        raise place.refuse(f"has {len(settings.coeff)} coefficients for {operation} of {len(place.shapes)} blobs")
    if operation == "SUM":
        return Sum([decimal(number) for number in settings.coeff] or None)
    return Product() if operation == "PROD" else Maximum()


def concat(place: Place) -> Operator:
    settings = place.layer.concat_param
    place.expect_channels(settings.concat_dim if settings.HasField("concat_dim") else settings.axis)
    return Concat()


def slices(place: Place) -> list[Chain]:
    settings = place.layer.slice_param
    place.expect_channels(settings.slice_dim if settings.HasField("slice_dim") else settings.axis)
    count, channels = len(place.layer.top), place.channels
    inner = list(settings.slice_point) or [channels * i // count for i in range(1, count)]
    edges = [0, *inner, channels]
    rising = all(start < stop for start, stop in zip(edges, edges[1:], strict=False))
    if len(edges) != count + 1 or not rising or (not settings.slice_point and channels % count):
        raise place.refuse(f"cuts {channels} channels at {inner} into {count} blobs, which cannot be done")
    return [[Slice(start, stop)] for start, stop in zip(edges, edges[1:], strict=False)]


def split(place: Place) -> list[Chain]:
    return [[Identity()] for _ in place.layer.top]


def flatten(place: Place) -> Operator:
    settings = place.layer.flatten_param
    first, last = place.axis(settings.axis), place.axis(settings.end_axis)
    shape = (0, *place.shapes[0])
    if not 1 <= first <= last < len(shape):
        raise place.refuse(f"flattens axes {settings.axis} to {settings.end_axis} of {len(shape)}")
    return _reshaped(place, (*shape[1:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


def reshape(place: Place) -> Operator:
    settings = place.layer.reshape_param
    old = (0, *place.shapes[0])  # the batch stands as 0, "as before"
    first = settings.axis if settings.axis >= 0 else settings.axis + len(old) + 1
    stop = len(old) if settings.num_axes == -1 else first + settings.num_axes
    if not 0 <= first <= stop <= len(old):
        raise place.refuse(f"replaces axes {first} to {stop} of {len(old)}")
    named = list(settings.shape.dim)
    if any(dim == 0 and first + i >= len(old) for i, dim in enumerate(named)):
        raise place.refuse(f"copies more axes than the {len(old)} it reads")
    named = [old[first + i] if dim == 0 else dim for i, dim in enumerate(named)]
    new = [*old[:first], *named, *old[stop:]]
    shape = new[1:]  # the batch, if stated, is how many images Caffe was to take at once; ours may be any
    if shape.count(-1) == 1:
        rest = math.prod(dim for dim in shape if dim != -1)
        shape[shape.index(-1)] = math.prod(old[1:]) // max(1, rest)
    if math.prod(shape) != math.prod(old[1:]):
        raise place.refuse(f"makes {tuple(shape)} of {old[1:]}, which has another count")
    return _reshaped(place, tuple(shape))


def _reshaped(place: Place, shape: Shape) -> Operator:
    if len(shape) not in (1, 3):
        raise place.refuse(f"makes shape {shape}, expected (channels, rows, columns) or (units,)")
    return Identity() if shape == place.shapes[0] else Reshape(shape)
