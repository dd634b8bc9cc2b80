"""Half-open intervals of rows or columns, and which inputs a sliding operator reads along one axis."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Rows (or columns) start … stop−1 of a map; may stick out of the map."""

    start: int
    stop: int

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def clip(self, size: int) -> Interval:
        """The part inside a map of `size` rows."""
        start = min(max(self.start, 0), size)
        return Interval(start, max(start, min(self.stop, size)))

    def hull(self, other: Interval) -> Interval:
        """The smallest interval that contains both; an empty interval leaves the other unchanged."""
        if not len(self) or not len(other):
            return self if len(self) else other
        return Interval(min(self.start, other.start), max(self.stop, other.stop))

    def as_slice(self) -> slice:
        """This interval as a slice of the whole map."""
        return slice(self.start, self.stop)

    def within(self, outer: Interval) -> slice:
        """This interval as a slice of an array that holds `outer`."""
        return slice(self.start - outer.start, self.stop - outer.start)


@dataclass(frozen=True)
class Reach:
    """Which inputs one output of a sliding operator reads along one axis.

    Output o reads the inputs o·stride − padding … o·stride − padding + size − 1.
    Source: Araujo et al. 2019, "Computing Receptive Fields of Convolutional Neural Networks".
    """

    size: int = 1
    stride: int = 1
    padding: int = 0

    def needed(self, wanted: Interval) -> Interval:
        """The inputs that the wanted outputs read; sticks out of the map where they read padding."""
        start = wanted.start * self.stride - self.padding
        return Interval(start, (wanted.stop - 1) * self.stride - self.padding + self.size)

    def outputs(self, size: int, rounding: str = "floor") -> int:
        """The number of outputs along an axis of length `size`.

        rounding : "floor" (convolution), "caffe" (ceiling; a last window that begins beyond the map is dropped only
            where the operator pads) or "torch" (ceiling; such a window is always dropped).
        """
        room = size + 2 * self.padding - self.size
        if rounding == "floor":
            return room // self.stride + 1
        count = -(-room // self.stride) + 1
        drops = rounding == "torch" or self.padding > 0
        if drops and (count - 1) * self.stride >= size + self.padding:
            count -= 1
        return count


@dataclass(frozen=True)
class Part:
    """What an operator computes along one axis.

    wanted : the outputs to compute.
    given : the inputs that it is given.
    size : length of the input's map.
    """

    wanted: Interval
    given: Interval
    size: int

    def missing(self, needed: Interval) -> tuple[int, int]:
        """The numbers of needed inputs before and after the map, which are padding."""
        return self.given.start - needed.start, needed.stop - self.given.stop
