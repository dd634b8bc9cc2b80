"""What tests of pages share: reading a page, finding references that lead nowhere, a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

CHROMIUM = Path("/usr/bin/chromium")
QUIET = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync --hide-scrollbars"
OFFLINE = "--disable-background-networking --disable-component-update --virtual-time-budget=2000"


class Page(HTMLParser):
    """What a page refers to, what it says, and its elements."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.refers, self.ids, self.images, self.tags, self.text = path, [], set(), [], [], ""
        self.linked: list[dict[str, str]] | None = None  # pictures of the open link
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        self.refers += [found[key] for key in ("href", "src") if found.get(key)]
        self.ids.add(found.get("id"))
        if tag == "a":
            self.linked = []
        if tag == "img":
            self.images.append(found)
            if self.linked is not None:
                self.linked.append(found)

    def handle_endtag(self, tag):
        if tag == "a":
            self.linked = None

    def handle_data(self, data):
        self.text += data
        for image in self.linked or ():
            image["beside"] = (image.get("beside", "") + data).strip()


class Landmarks(HTMLParser):
    """What stands outside a page's landmarks: the tags of its controls and pictures, and its texts."""

    LANDMARKS = frozenset({"header", "nav", "main", "footer", "dialog"})

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open, self.body, self.outside = 0, False, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.open += tag in self.LANDMARKS
        if self.body and not self.open and tag in {"a", "button", "img", "input", "select", "svg"}:
            self.outside.append(tag)
        self.body |= tag == "body"

    def handle_endtag(self, tag):
        self.open -= tag in self.LANDMARKS

    def handle_data(self, data):
        if self.body and not self.open and data.strip():
            self.outside.append(data.strip())


def is_lazy(image: dict[str, str], page: Path) -> bool:
    """Whether a picture is loaded when needed and has a size; those of a unit lie in one file, loaded at once."""
    own = image["src"].split(".")[0] == page.stem
    return own or (image["loading"] == "lazy" and int(image["width"]) > 0 and int(image["height"]) > 0)


def has_text(image: dict[str, str]) -> bool:
    """Whether a picture has a text in its place, or in the link that it is part of."""
    return bool(image["alt"] or image.get("beside"))


def is_local(text: str) -> bool:
    """Whether a page, a style sheet or a script fetches nothing from elsewhere."""
    remote = re.search(r"https?://|(?<![\w/:])//[a-z]|@import|fetch\(|XMLHttpRequest", text)
    return not remote and all(re.fullmatch(r"[#\w.%+~@-]+", url) for url in re.findall(r"url\(([^)$]*)\)", text))


def read(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def broken(folder: Path) -> list[str]:
    """The references of a site's pages that lead nowhere."""
    pages = {path: Page(path) for path in folder.rglob("*.html")}
    found = []
    for path, page in pages.items():
        for reference in page.refers:
            if reference.startswith("data:"):
                continue
            parts = urlsplit(reference)
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = not parts.scheme and not parts.netloc and target.is_file()
            state = "=" in parts.fragment  # order and filter of a layer's page
            if not there or (parts.fragment and not state and parts.fragment not in pages[target].ids):
                found.append(f"{path.name}: {reference}")
    return found


def browser(folder: Path) -> list[str]:
    """The command of a browser that asks nothing of the network; its profile lies in the folder."""
    return [str(CHROMIUM), *QUIET.split(), *OFFLINE.split(), f"--user-data-dir={folder / 'profile'}"]
