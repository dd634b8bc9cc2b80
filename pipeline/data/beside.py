"""The class that a small file beside an image states, as in the tars of webdataset: `0001.jpg` and `0001.cls`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MOST_BYTES = 2**20  # of a file beside an image; a larger one is passed over
_CLASS_SUFFIXES = (".cls", ".class", ".label")
_SUFFIXES = (*_CLASS_SUFFIXES, ".json", ".txt")
# Keys of a JSON record, the more telling ones first
_KEYS = ("cls", "label", "class", "class_id", "class_index", "class_idx", "label_id", "category_id", "category",
         "target", "wnid", "synset", "class_name", "label_name", "category_name")  # fmt: skip
_TITLE_KEYS = ("class_name", "label_name", "category_name", "class_label", "label_text", "name", "class", "label",
               "category", "text")  # fmt: skip
_TEXT_KEYS = ("text", "caption", "txt")
_LONGEST = 80  # letters of a text that may be the name of a class

Facts = Mapping[str, str]  # "cls", "json", "title", "text" → what the files beside an image say


@dataclass
class Beside:
    """The files beside the images of a dataset, by the part of their names that they share with an image."""

    _facts: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, name: str, data: bytes) -> None:
        """Read one file. name : for which `may_state` is true."""
        stem, suffix = _parts(name)
        facts = _read(suffix, data)
        if facts:
            self._facts.setdefault(stem, {}).update(facts)

    def of(self, image: str) -> Facts:
        """What the files beside an image say; empty where there is none."""
        if not self._facts:
            return {}
        found: dict[str, str] = {}
        for stem in stems(image)[::-1]:
            found |= self._facts.get(stem, {})
        return found


def may_state(name: str) -> bool:
    """Whether a file's name is of a kind that states a class beside an image."""
    last = name.rsplit("/", 1)[-1]
    return not last.startswith(".") and last.lower().endswith(_SUFFIXES)


def stem_beside(name: str) -> str:
    """The part of the name of such a file that an image shares (`stems`)."""
    return _parts(name)[0]


def stems(image: str) -> tuple[str, ...]:
    """What the name of a file beside an image may begin with: the image's name, without suffix, up to its first dot."""
    folder, slash, last = image.rpartition("/")
    return image, folder + slash + last.rsplit(".", 1)[0], folder + slash + last.split(".", 1)[0]


def stated_classes(facts: Sequence[Facts]) -> tuple[list[str | None], list[str | None], str] | None:
    """The class of each image, the readable name of each class, and which files state them; None if none do.

    Files that end in .cls come before .json. A text, in a file or in JSON, is mostly a caption; it is the class if all
    images have a short one and each occurs twice on average.
    """
    for kind in ("cls", "json"):
        values = [each.get(kind) for each in facts]
        if any(value is not None for value in values):
            return values, [each.get("title") for each in facts], f".{kind}"
    texts = [each.get("text") for each in facts]
    if texts and all(text is not None for text in texts) and 2 * len(set(texts)) <= len(texts):
        return texts, [None] * len(texts), ".txt"
    return None


def has_other_texts(facts: Iterable[Facts]) -> bool:
    """Whether files beside the images say something, though no class (`stated_classes`)."""
    return any("text" in each or "other" in each for each in facts)


def _parts(name: str) -> tuple[str, str]:
    stem, _, suffix = name.rpartition(".")
    return stem, f".{suffix.lower()}"


def _read(suffix: str, data: bytes) -> dict[str, str]:
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return {}
    if suffix == ".json":
        return _of_json(text)
    if not text or "\n" in text or len(text) > _LONGEST:
        return {"other": suffix}
    return {"cls" if suffix in _CLASS_SUFFIXES else "text": text}


def _of_json(text: str) -> dict[str, str]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if isinstance(value, Mapping):
        stated = _first(value, _KEYS)
        if stated is None:
            caption = _first(value, _TEXT_KEYS)
            short = caption is not None and len(caption) <= _LONGEST and "\n" not in caption
            return {"text": caption} if short else {"other": ".json"}  # type: ignore[dict-item]
        title = _first(value, _TITLE_KEYS, but=stated)
        return {"json": stated} | ({} if title is None else {"title": title})
    scalar = _scalar(value)
    return {} if scalar is None else {"json": scalar}


def _first(record: Mapping[str, Any], keys: Sequence[str], but: str | None = None) -> str | None:
    lower = {str(key).lower(): value for key, value in record.items()}
    values = (_scalar(lower.get(key)) for key in keys)
    return next((value for value in values if value is not None and value != but), None)


def _scalar(value: Any) -> str | None:
    """A name or number as text; a list of one counts as its content."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None or isinstance(value, bool | list | Mapping):
        return None
    text = str(value).strip()
    return text if text and len(text) <= _LONGEST * 4 and "\0" not in text else None
