from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the cards that these tests share

from cards import STYLE

from pipeline.methods.ascent.settings import StyleSettings

PLAIN = replace(STYLE, blur_radius=0.0, blur_every=0, max_iter=8)


@pytest.fixture
def style() -> Callable[..., StyleSettings]:
    """Makes a style from the plain one: style(name="x", decay=0.1)."""
    return lambda **changes: replace(PLAIN, **changes)
