from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the pictures that these tests share

from given_files import settings

from pipeline.data.open_source import open_source


@pytest.fixture
def opened(tmp_path):
    def open_with(kind, root, **changes):
        return open_source(settings(kind, root, **changes), cache=tmp_path / "cache")

    return open_with
