from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw

from pipeline.data.doodle_pen import Ink, Pen, Pose

STILL = Pose(np.eye(2), np.zeros(2), np.zeros(2), np.zeros((2, 2)), 0.0, 1.0)  # an object's units are pixels


@pytest.mark.parametrize("width", [3, 5, 8, 9, 30])
def test_a_stroke_is_pillows_line_with_curved_joints(width):
    """To the last pixel, whatever the turns: sharp and flat ones, to both sides, and none."""
    random = np.random.default_rng(width)
    for count in (2, 3, 8):
        points = random.uniform(10, 110, (count, 2))
        points = np.concatenate([points, 2 * points[-1:] - points[-2:-1], points[:1]])  # straight on, then back
        ours, theirs = (Image.new("RGB", (120, 120)) for _ in range(2))
        pen = Pen(ours, pose=STILL, ink=Ink({"red": (200, 30, 40)}, (0, 0, 0), 0.0))
        pen._stroke(points, width, (200, 30, 40))
        flat = points.ravel().tolist()
        ImageDraw.Draw(theirs).line(flat, (200, 30, 40), width, joint="curve" if width > 4 else None)
        assert ImageChops.difference(ours, theirs).getbbox() is None and ours.getbbox() is not None
