"""What a build walks: every module of a panel or a page is found, once, in its order; and each template is there."""

from __future__ import annotations

from pathlib import Path

import pytest

import atlas_viewer.site
from atlas_viewer.site import pieces

SITE = Path(atlas_viewer.site.__file__).parent
APART = {"difference", "networks", "training"}  # pages that other commands write


def modules(folder: str) -> set[str]:
    return {path.stem for path in (SITE / folder).glob("*.py")} - {"__init__"}


def test_every_module_of_a_panel_is_found_once():
    found = [type(panel).__module__.rsplit(".", 1)[1] for panel in pieces.panels()]
    assert sorted(found) == sorted(modules("panels"))
    orders = [panel.order for panel in pieces.panels()]
    assert orders == sorted(set(orders))


def test_every_page_of_a_site_is_found_once():
    found = [type(page).__module__.rsplit(".", 1)[1] for page in pieces.kinds()]
    assert sorted(found) == sorted(modules("pages") - APART)
    orders = [page.order for page in pieces.kinds()]
    assert orders == sorted(set(orders))


@pytest.mark.parametrize("panel", pieces.panels(), ids=lambda panel: type(panel).__name__)
def test_a_panel_has_its_templates(panel):
    for template in filter(None, (panel.template, panel.lead_template)):
        assert (SITE / "templates" / template).is_file()


def test_every_template_of_a_panel_is_used():
    used = {name for panel in pieces.panels() for name in (panel.template, panel.lead_template)} - {""}
    assert {f"panels/{path.name}" for path in (SITE / "templates" / "panels").glob("*")} == used


def test_the_core_names_no_panel_and_no_page():
    for name in ("build.py", "keys.py", "pieces.py"):
        text = (SITE / name).read_text(encoding="utf-8")
        assert "site.panels." not in text and "site.pages." not in text
