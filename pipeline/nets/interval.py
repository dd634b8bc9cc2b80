"""Half-open intervals of rows or columns, and how far an operator reaches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Rows (or columns) start … stop-1 of a map; may stick out of it."""

    start: int
    stop: int

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def clip(self, size: int) -> Interval:
        """The part inside a map of `size` rows."""
        start = min(max(self.start, 0), size)
        return Interval(start, max(start, min(self.stop, size)))

    def hull(self, other: Interval) -> Interval:
        """The smallest interval that holds both; an empty one holds nothing and moves no end."""
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

    Output o reads o·stride − padding … o·stride − padding + size − 1.
    Source: Araujo et al. 2019, "Computing Receptive Fields of Convolutional Neural Networks".
    """

    size: int = 1
    stride: int = 1
    padding: int = 0

    def needed(self, wanted: Interval) -> Interval:
        """The inputs that the wanted outputs read; sticks out where padding is read."""
        start = wanted.start * self.stride - self.padding
        return Interval(start, (wanted.stop - 1) * self.stride - self.padding + self.size)

    def outputs(self, size: int, rounding: str = "floor") -> int:
        """How many outputs a map of `size` gives.

        rounding : "floor" (convolution), "caffe" (ceiling; a last window that starts in the far padding is
            dropped only where there is padding) or "torch" (ceiling; such a window is always dropped).
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
    """What an operator is to compute of one axis: outputs `wanted`, from inputs `given` of a map of `size`."""

    wanted: Interval
    given: Interval
    size: int

    def missing(self, needed: Interval) -> tuple[int, int]:
        """How many needed inputs lie before and after the map; they are padding."""
        return self.given.start - needed.start, needed.stop - self.given.stop
