from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the cards that these tests share

from cards import STYLE

from pipeline.methods.ascent import task as ascent
from pipeline.methods.ascent.settings import StyleSettings
from pipeline.methods.dgn import task as dgn
from pipeline.methods.tops import task as tops

PLAIN = replace(STYLE, blur_radius=0.0, blur_every=0, max_iter=8)


@pytest.fixture
def revisions_of_literal_ids(monkeypatch) -> None:
    """The revisions under which the literal ids in tests were written down. A raised one changes ids on purpose."""
    for module, name, revision in ((ascent, "ASCENT", 1), (dgn, "DGN", 1), (tops, "MINE", 2)):
        monkeypatch.setattr(module, f"{name}_REVISION", revision)


@pytest.fixture
def style() -> Callable[..., StyleSettings]:
    """Makes a style from the plain one: style(name="x", decay=0.1)."""
    return lambda **changes: replace(PLAIN, **changes)
