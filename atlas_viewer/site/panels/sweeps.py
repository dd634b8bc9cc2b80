"""The sweeps of a unit's layer: a sentence with a link for each, because their settings have pages of their own."""

from __future__ import annotations

from atlas_viewer.layer import Unit
from atlas_viewer.site.outline import Outline, SweepNote, sweep_notes
from atlas_viewer.site.packing import UnitSprite
from atlas_viewer.site.pieces import Panel


class SweepPanel(Panel):
    """The sweeps of a unit's layer."""

    order = 60
    template = "panels/sweeps.html"

    def draw(self, outline: Outline, unit: Unit, sprite: UnitSprite) -> tuple[SweepNote, ...] | None:
        """A sentence for each sweep; None without any."""
        notes = sweep_notes(unit.layer)
        return notes if notes else None
