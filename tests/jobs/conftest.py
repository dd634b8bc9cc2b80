from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))  # the cards that these tests share
sys.path.insert(0, str(Path(__file__).parent))  # the tiny networks
