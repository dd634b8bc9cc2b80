"""The shapes of the drawings, one function a class, each drawn with a pen in [-1, 1] (x right, y down)."""

from __future__ import annotations

import math

import numpy as np

from pipeline.data.doodle_pen import Pen, arc, box, ellipse, smooth

# Living things, sky and garden ---------------------------------------------------------------------------


def face(pen: Pen, rng: np.random.Generator) -> None:
    pen.disc(0, 0, 0.9, "yellow")
    for x in (-0.33, 0.33):
        pen.disc(x, -0.26, 0.14, "white", high=0.22)
        pen.disc(x, -0.2, 0.08, "black", high=0.12, outline=False)
    for x in (-0.58, 0.58):
        pen.disc(x, 0.18, 0.13, "pink", high=0.1, outline=False)
    pen.fill(np.concatenate([arc(0, 0.2, 0.5, 0.48, 0, 180), arc(0, 0.2, 0.5, 0.12, 180, 0)]), "red")


def cat(pen: Pen, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        pen.fill([(side * 0.8, -0.05), (side * 0.78, -0.95), (side * 0.15, -0.5)], "orange")
        pen.fill([(side * 0.68, -0.3), (side * 0.68, -0.74), (side * 0.36, -0.5)], "pink", outline=False)
    pen.disc(0, 0.15, 0.84, "orange", high=0.72)
    for x in (-0.2, 0.0, 0.2):
        pen.line([(x, -0.52), (x * 0.8, -0.3)], 0.07, "brown")
    for side in (-1, 1):
        pen.disc(side * 0.36, 0.0, 0.17, "green", high=0.16)
        pen.disc(side * 0.36, 0.0, 0.05, "black", high=0.15, outline=False)
        for rise in (-0.1, 0.02, 0.14):
            pen.line([(side * 0.3, 0.36 + rise / 3), (side * 0.98, 0.34 + rise)], 0.035)
    pen.fill([(-0.12, 0.24), (0.12, 0.24), (0, 0.38)], "pink")
    pen.line(arc(-0.14, 0.4, 0.14, 0.16, 0, 150, 10))
    pen.line(arc(0.14, 0.4, 0.14, 0.16, 180, 30, 10))


def fish(pen: Pen, rng: np.random.Generator) -> None:
    pen.fill([(0.45, 0), (0.98, -0.48), (0.84, 0), (0.98, 0.48)], "yellow")
    pen.fill(smooth((-0.25, -0.4), (0.0, -0.78), (0.4, -0.6), (0.3, -0.3)), "yellow")
    pen.fill(smooth((-0.1, 0.42), (0.1, 0.74), (0.32, 0.62), (0.25, 0.3)), "yellow")
    pen.fill(
        smooth(
            (-0.96, 0.02),
            (-0.62, -0.38),
            (-0.1, -0.52),
            (0.35, -0.3),
            (0.62, 0),
            (0.35, 0.3),
            (-0.1, 0.52),
            (-0.62, 0.4),
        ),
        "orange",
    )
    for x, high in ((0.02, 0.4), (0.28, 0.28)):
        pen.fill(
            np.concatenate([arc(x, 0, 0.14, high, -90, 90, 12), arc(x - 0.1, 0, 0.14, high, 90, -90, 12)]),
            "white",
            outline=False,
        )
    pen.line(arc(-0.48, 0, 0.16, 0.34, -70, 70, 12), 0.06)
    pen.disc(-0.64, -0.1, 0.13, "white")
    pen.disc(-0.66, -0.1, 0.06, "black", outline=False)


def bird(pen: Pen, rng: np.random.Generator) -> None:
    for x in (-0.08, 0.16):
        pen.line([(x, 0.5), (x, 0.9), (x - 0.16, 0.94)], 0.06, "orange")
    pen.fill([(0.45, 0.1), (0.98, -0.28), (0.98, 0.1), (0.55, 0.4)], "blue")
    pen.fill([(-0.76, -0.52), (-1.0, -0.36), (-0.72, -0.28)], "orange")
    pen.fill(
        smooth(
            (-0.5, -0.78),
            (-0.2, -0.6),
            (0.1, -0.22),
            (0.6, 0.06),
            (0.45, 0.45),
            (0, 0.62),
            (-0.45, 0.4),
            (-0.58, 0),
            (-0.78, -0.3),
            (-0.76, -0.6),
        ),
        "sky",
    )
    pen.fill(smooth((-0.5, 0.02), (-0.3, 0.5), (0, 0.58), (-0.1, 0.2)), "cream", outline=False)
    pen.fill(smooth((-0.2, -0.1), (0.3, -0.02), (0.72, 0.24), (0.3, 0.4), (-0.08, 0.26)), "blue")
    pen.line([(0.1, 0.1), (0.5, 0.24)], 0.05)
    pen.disc(-0.54, -0.5, 0.09, "white")
    pen.disc(-0.55, -0.5, 0.05, "black", outline=False)


def snail(pen: Pen, rng: np.random.Generator) -> None:
    for x in (-0.82, -0.56):
        pen.line([(-0.66, -0.1), (x, -0.6)], 0.06, "tan")
        pen.disc(x, -0.6, 0.08, "black", outline=False)
    pen.fill(
        smooth(
            (-0.9, -0.1),
            (-0.7, -0.24),
            (-0.5, -0.1),
            (-0.4, 0.4),
            (0.4, 0.5),
            (0.98, 0.68),
            (0.6, 0.76),
            (-0.5, 0.76),
            (-0.76, 0.5),
        ),
        "tan",
    )
    pen.line(arc(-0.74, 0.02, 0.14, 0.12, 20, 150, 8), 0.045)
    pen.disc(0.18, 0.0, 0.62, "orange")
    turns = np.linspace(0.4, 5.2 * math.pi, 60)
    radius = 0.035 * turns
    pen.line(np.stack([0.18 + radius * np.cos(turns), radius * np.sin(turns)], axis=1), 0.085, "brown")


def butterfly(pen: Pen, rng: np.random.Generator) -> None:
    for s in (-1, 1):
        pen.fill(
            smooth((s * 0.06, -0.05), (s * 0.35, -0.75), (s * 0.85, -0.84), (s * 0.96, -0.4), (s * 0.6, 0.0)),
            "purple",
        )
        pen.fill(
            smooth((s * 0.06, 0.02), (s * 0.6, 0.02), (s * 0.8, 0.4), (s * 0.58, 0.84), (s * 0.24, 0.66)),
            "pink",
        )
        pen.disc(s * 0.62, -0.48, 0.2, "yellow")
        pen.disc(s * 0.62, -0.48, 0.08, "blue", outline=False)
        pen.disc(s * 0.5, 0.38, 0.14, "yellow")
        pen.line(smooth((s * 0.04, -0.45), (s * 0.12, -0.72), (s * 0.26, -0.92), closed=False), 0.05)
    pen.disc(0, 0.08, 0.1, "black", high=0.56)


def sun(pen: Pen, rng: np.random.Generator) -> None:
    rays = int(rng.integers(10, 14))
    for ray in range(rays):
        angle = 2 * math.pi * ray / rays
        tip = (0.98 * math.cos(angle), 0.98 * math.sin(angle))
        sides = [(0.6 * math.cos(angle + d), 0.6 * math.sin(angle + d)) for d in (-0.2, 0.2)]
        pen.fill([sides[0], tip, sides[1]], "orange")
    pen.disc(0, 0, 0.54, "yellow")
    pen.disc(0, 0, 0.34, "orange", outline=False)
    pen.disc(0, 0, 0.24, "yellow", outline=False)


def star(pen: Pen, rng: np.random.Generator) -> None:
    angles = np.radians(np.arange(10) * 36 - 90)
    radius = np.where(np.arange(10) % 2 == 0, 0.98, 0.42)
    corners = np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)
    pen.fill(corners, "yellow")
    for i in range(0, 10, 2):
        pen.fill([(0, 0), tuple(corners[i]), tuple(corners[(i + 1) % 10])], "red", outline=False)


def tree(pen: Pen, rng: np.random.Generator) -> None:
    pen.fill([(-0.13, 0.55), (0.13, 0.55), (0.15, 0.95), (-0.15, 0.95)], "brown")
    for top, bottom, wide in ((0.0, 0.68, 0.8), (-0.46, 0.24, 0.64), (-0.95, -0.22, 0.46)):
        pen.fill(
            [
                (0, top),
                (wide, bottom),
                (wide * 0.4, bottom - 0.06),
                (0, bottom + 0.03),
                (-wide * 0.4, bottom - 0.06),
                (-wide, bottom),
            ],
            "forest",
        )


def flower(pen: Pen, rng: np.random.Generator) -> None:
    pen.tube([(0, -0.2), (0.02, 0.4), (-0.02, 0.96)], 0.12, "green")
    for side, low in ((-1, 0.86), (1, 0.8)):
        leaf_side = ((0, low), (side * 0.26, low - 0.34), (side * 0.7, low - 0.36), (side * 0.46, low - 0.02))
        pen.fill(smooth(*leaf_side), "green")
    petals = 6
    for petal in range(petals):
        turn = 360 * petal / petals + 30
        x, y = 0.4 * math.cos(math.radians(turn)), 0.4 * math.sin(math.radians(turn))
        pen.fill(ellipse(x, y - 0.3, 0.29, 0.21, turn, 20), "pink")
    pen.disc(0, -0.3, 0.24, "yellow")


def leaf(pen: Pen, rng: np.random.Generator) -> None:
    pen.tube(smooth((0, 0.5), (0.03, 0.8), (0.16, 0.98), closed=False), 0.06, "brown")
    pen.fill(
        np.concatenate(
            [
                smooth((0, -0.98), (0.36, -0.5), (0.52, 0.0), (0.38, 0.46), (0, 0.7), closed=False),
                smooth((0, 0.7), (-0.38, 0.46), (-0.52, 0.0), (-0.36, -0.5), (0, -0.98), closed=False),
            ]
        ),
        "green",
    )
    pen.line([(0, -0.8), (0, 0.62)], 0.06, "cream")
    for low, reach in ((-0.42, 0.24), (-0.1, 0.36), (0.22, 0.36), (0.48, 0.26)):
        for side in (-1, 1):
            pen.line([(0, low), (side * reach, low - 0.24)], 0.045, "cream")


def mushroom(pen: Pen, rng: np.random.Generator) -> None:
    pen.fill(
        smooth((-0.22, 0.0), (0.22, 0.0), (0.24, 0.5), (0.36, 0.88), (0, 0.95), (-0.36, 0.88), (-0.24, 0.5)),
        "cream",
    )
    pen.fill(np.concatenate([arc(0, 0.06, 0.92, 0.95, 180, 360), arc(0, 0.06, 0.92, 0.2, 0, 180)]), "red")
    for x, y, radius in ((-0.5, -0.22, 0.15), (0.02, -0.56, 0.17), (0.5, -0.2, 0.14), (0.0, -0.08, 0.12)):
        pen.disc(x, y, radius, "white", outline=False)


def cherries(pen: Pen, rng: np.random.Generator) -> None:
    for x, y in ((-0.46, 0.5), (0.46, 0.4)):
        pen.line(smooth((0.1, -0.86), (x * 0.5, -0.4), (x, y - 0.3), closed=False), 0.07, "forest")
    pen.fill(smooth((0.08, -0.86), (0.4, -0.98), (0.9, -0.72), (0.5, -0.56)), "green")
    pen.line([(0.2, -0.82), (0.68, -0.74)], 0.04, "forest")
    for x, y in ((-0.46, 0.5), (0.46, 0.4)):
        pen.disc(x, y, 0.42, "red")
        pen.disc(x - 0.14, y - 0.16, 0.09, "white", outline=False)


def heart(pen: Pen, rng: np.random.Generator) -> None:
    pen.fill(_heart_outline(1.0), "red")
    pen.fill(_heart_outline(0.62), "pink", outline=False)
    pen.fill(_heart_outline(0.34), "red", outline=False)


def _heart_outline(size: float) -> np.ndarray:
    t = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return size * np.stack([x / 17, (y - 2) / 17 + 0.0], axis=1)


# Things that people make ---------------------------------------------------------------------------------


def house(pen: Pen, rng: np.random.Generator) -> None:
    pen.fill(box(0.36, -0.84, 0.6, -0.2), "brown")
    pen.fill(box(-0.7, -0.12, 0.7, 0.88), "cream")
    pen.fill([(-0.95, -0.08), (0, -0.92), (0.95, -0.08)], "red")
    pen.fill(box(-0.2, 0.3, 0.16, 0.88), "brown")
    pen.disc(0.06, 0.6, 0.04, "yellow", outline=False)
    for left in (-0.58, 0.28):
        pen.fill(box(left, 0.1, left + 0.3, 0.42), "sky")
        pen.line([(left + 0.15, 0.1), (left + 0.15, 0.42)], 0.04)
        pen.line([(left, 0.26), (left + 0.3, 0.26)], 0.04)


def boat(pen: Pen, rng: np.random.Generator) -> None:
    pen.tube([(0, 0.4), (0, -0.92)], 0.06, "brown")
    pen.fill([(0.06, -0.86), (0.74, 0.28), (0.06, 0.28)], "white")
    pen.fill([(-0.06, -0.66), (-0.06, 0.28), (-0.6, 0.28)], "sky")
    pen.fill([(-0.94, 0.4), (0.94, 0.4), (0.62, 0.88), (-0.62, 0.88)], "red")
    pen.fill([(-0.84, 0.55), (0.84, 0.55), (0.78, 0.66), (-0.77, 0.66)], "white", outline=False)
    pen.fill([(0, -0.96), (0.3, -0.86), (0, -0.76)], "red", outline=False)


def cup(pen: Pen, rng: np.random.Generator) -> None:
    pen.tube(arc(0.5, 0.28, 0.34, 0.32, -90, 90), 0.13, "blue")
    pen.fill([(-0.66, -0.22), (0.54, -0.22), (0.42, 0.9), (-0.54, 0.9)], "blue")
    pen.fill([(-0.63, 0.12), (0.51, 0.12), (0.46, 0.52), (-0.58, 0.52)], "white", outline=False)
    for x in (-0.42, -0.06, 0.3):
        pen.disc(x, 0.32, 0.11, "red", outline=False)
    pen.disc(-0.06, -0.22, 0.6, "white", high=0.16)
    pen.disc(-0.06, -0.2, 0.48, "brown", high=0.1, outline=False)
    for x in (-0.4, -0.06, 0.28):
        pen.line(
            smooth((x, -0.44), (x + 0.1, -0.58), (x - 0.06, -0.76), (x + 0.06, -0.94), closed=False),
            0.06,
            "grey",
        )


def key(pen: Pen, rng: np.random.Generator) -> None:
    pen.tube([(-0.2, -0.12), (0.92, -0.12)], 0.2, "yellow")
    for x, low in ((0.42, 0.3), (0.66, 0.22), (0.9, 0.42)):
        pen.tube([(x, -0.1), (x, low)], 0.15, "yellow")
    pen.line([(-0.14, -0.12), (0.88, -0.12)], 0.12, "yellow")
    pen.disc(-0.5, -0.12, 0.48, "yellow")
    pen.disc(-0.56, -0.12, 0.26, "red")


def car(pen: Pen, rng: np.random.Generator) -> None:
    pen.fill([(-0.66, 0.0), (-0.42, -0.62), (0.34, -0.62), (0.64, 0.0)], "red")
    pen.fill([(-0.5, -0.06), (-0.32, -0.48), (-0.06, -0.48), (-0.06, -0.06)], "sky")
    pen.fill([(0.06, -0.06), (0.06, -0.48), (0.27, -0.48), (0.47, -0.06)], "sky")
    pen.fill(
        smooth(
            (-0.96, 0.12),
            (-0.85, -0.04),
            (0.0, -0.06),
            (0.7, -0.04),
            (0.96, 0.12),
            (0.97, 0.42),
            (0, 0.46),
            (-0.96, 0.42),
        ),
        "red",
    )
    pen.disc(0.88, 0.14, 0.1, "yellow", high=0.12)
    pen.line([(0.1, 0.12), (0.24, 0.12)], 0.06)
    for x in (-0.52, 0.52):
        pen.disc(x, 0.44, 0.32, "black")
        pen.disc(x, 0.44, 0.17, "grey", outline=False)


def umbrella(pen: Pen, rng: np.random.Generator) -> None:
    hook = np.concatenate([np.array([[0.0, -0.85], [0.0, 0.7]]), arc(-0.15, 0.7, 0.15, 0.2, 0, 180, 12)])
    pen.tube(hook, 0.08, "brown")
    edges = np.linspace(-0.95, 0.95, 5)
    for panel in range(4):
        left, right = float(edges[panel]), float(edges[panel + 1])
        side = arc(0, 0.1, max(abs(left), 0.02), 0.9, 180 if left <= 0 else 0, 270, 12)
        other = arc(0, 0.1, max(abs(right), 0.02), 0.9, 270, 180 if right <= 0 else 360, 12)
        if left > 0:
            side = arc(0, 0.1, left, 0.9, 360, 270, 12)
        scallop = arc((left + right) / 2, 0.1, (right - left) / 2, 0.14, 0, -180, 10)
        pen.fill(np.concatenate([side, other, scallop]), "red" if panel % 2 == 0 else "yellow")


def clock(pen: Pen, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        pen.tube([(side * 0.45, 0.7), (side * 0.62, 0.94)], 0.12, "red")
        pen.fill(ellipse(side * 0.5, -0.72, 0.3, 0.18, side * 40), "yellow")
    pen.disc(0, 0.06, 0.84, "red")
    pen.disc(0, 0.06, 0.66, "white", outline=False)
    for hour in range(12):
        angle = math.radians(hour * 30)
        near = 0.46 if hour % 3 == 0 else 0.52
        pen.line(
            [
                (near * math.sin(angle), 0.06 - near * math.cos(angle)),
                (0.6 * math.sin(angle), 0.06 - 0.6 * math.cos(angle)),
            ],
            0.06,
        )
    for reach, angle in ((0.42, rng.uniform(-0.5, 0.5)), (0.32, rng.uniform(1.5, 2.6))):
        pen.line([(0, 0.06), (reach * math.sin(angle), 0.06 - reach * math.cos(angle))], 0.09)
    pen.disc(0, 0.06, 0.07, "black", outline=False)


def glasses(pen: Pen, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        pen.disc(side * 0.5, 0.1, 0.36, "sky", high=0.34, outline=False)
        pen.line([(side * 0.5 - 0.14, 0.18), (side * 0.5 + 0.08, -0.08)], 0.06, "white")
        pen.tube([(side * 0.86, 0.0), (side * 0.98, -0.3), (side * 0.8, -0.42)], 0.08, "black")
        ring = ellipse(side * 0.5, 0.1, 0.38, 0.36)
        pen.line(np.concatenate([ring, ring[:2]]), 0.13, "black")
    pen.line(arc(0, 0.06, 0.14, 0.12, 180, 360, 10), 0.12, "black")


def lamp(pen: Pen, rng: np.random.Generator) -> None:
    pen.tube([(0, -0.1), (0, 0.8)], 0.1, "brown")
    pen.disc(0, 0.42, 0.17, "blue", high=0.24)
    pen.fill(np.concatenate([arc(0, 0.92, 0.5, 0.2, 180, 360, 14), np.array([[0.5, 0.96], [-0.5, 0.96]])]), "brown")
    pen.line([(0.38, 0.0), (0.38, 0.3)], 0.035)
    pen.disc(0.38, 0.33, 0.06, "red", outline=False)
    pen.fill([(-0.36, -0.94), (0.36, -0.94), (0.78, 0.0), (-0.78, 0.0)], "yellow")
    for top, bottom in ((-0.18, -0.4), (0.0, 0.0), (0.18, 0.4)):
        pen.line([(top, -0.9), (bottom, -0.04)], 0.06, "orange")


def ladder(pen: Pen, rng: np.random.Generator) -> None:
    for y in (-0.66, -0.22, 0.22, 0.66):
        pen.tube([(-0.46 - 0.06 * y, y), (0.46 + 0.06 * y, y)], 0.15, "orange")
    for side in (-1, 1):
        pen.tube([(side * 0.46, -0.95), (side * 0.6, 0.95)], 0.17, "brown")


def envelope(pen: Pen, rng: np.random.Generator) -> None:
    pen.fill(box(-0.96, -0.62, 0.96, 0.62), "cream")
    pen.line([(-0.94, 0.6), (-0.2, -0.02)], 0.05)
    pen.line([(0.94, 0.6), (0.2, -0.02)], 0.05)
    pen.fill([(-0.96, -0.62), (0.96, -0.62), (0, 0.16)], "white")
    pen.disc(0, 0.08, 0.17, "red")


def rocket(pen: Pen, rng: np.random.Generator) -> None:
    pen.fill([(-0.2, 0.55), (0.2, 0.55), (0.1, 0.8), (0, 0.98), (-0.1, 0.8)], "orange")
    pen.fill([(-0.1, 0.55), (0.1, 0.55), (0, 0.82)], "yellow", outline=False)
    for side in (-1, 1):
        pen.fill([(side * 0.26, 0.1), (side * 0.66, 0.5), (side * 0.62, 0.78), (side * 0.24, 0.56)], "red")
    pen.fill(
        smooth((0, -0.98), (0.24, -0.6), (0.34, -0.1), (0.26, 0.58), (-0.26, 0.58), (-0.34, -0.1), (-0.24, -0.6)),
        "white",
    )
    pen.fill(smooth((0, -0.98), (0.2, -0.68), (0.25, -0.5), (0.0, -0.46), (-0.25, -0.5), (-0.2, -0.68)), "red")
    pen.disc(0, -0.12, 0.2, "blue")
    pen.disc(0, -0.12, 0.12, "sky", outline=False)
    pen.fill(box(-0.28, 0.36, 0.28, 0.46), "red", outline=False)


def ice_cream(pen: Pen, rng: np.random.Generator) -> None:
    pen.fill([(-0.46, 0.0), (0.46, 0.0), (0, 0.98)], "tan")
    for step in (-0.3, 0.0, 0.3):
        pen.line([(step, 0.03), (step / 2 + 0.23, 0.5 - step / 2)], 0.045, "brown")
        pen.line([(step, 0.03), (step / 2 - 0.23, 0.5 + step / 2)], 0.045, "brown")
    pen.disc(0, -0.56, 0.4, "cream")
    pen.fill(
        smooth(
            (-0.56, -0.1),
            (-0.4, -0.44),
            (0, -0.54),
            (0.4, -0.44),
            (0.56, -0.1),
            (0.42, 0.1),
            (0.22, 0.0),
            (0, 0.14),
            (-0.22, 0.0),
            (-0.42, 0.1),
        ),
        "pink",
    )
    for x, y, colour in (
        (-0.2, -0.7, "red"),
        (0.08, -0.82, "blue"),
        (0.2, -0.62, "green"),
        (-0.04, -0.62, "orange"),
    ):
        pen.line([(x, y), (x + 0.07, y + 0.05)], 0.06, colour)


def anchor(pen: Pen, rng: np.random.Generator) -> None:
    pen.tube([(-0.5, -0.34), (0.5, -0.34)], 0.2, "blue")
    pen.tube(arc(0, 0.06, 0.7, 0.74, 12, 168), 0.22, "blue")
    for side in (-1, 1):
        pen.fill([(side * 1.0, 0.4), (side * 0.7, -0.14), (side * 0.36, 0.4)], "blue")
    pen.tube([(0, -0.46), (0, 0.82)], 0.22, "blue")
    ring = ellipse(0, -0.7, 0.21, 0.21)
    pen.tube(np.concatenate([ring, ring[:2]]), 0.13, "blue")
