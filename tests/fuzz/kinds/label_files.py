"""Files of class names, and lists of images."""

from __future__ import annotations

import random

from pipeline.data.image_files import open_list
from pipeline.label_files import parse_classes
from tests.fuzz.kind import Kind
from tests.fuzz.mutation import mutated, mutated_text

_SUFFIXES = (".txt", ".csv", ".json", ".tsv", ".pbtxt", "")
_NAMES = [
    "tench\ngoldfish\ngreat white shark\n",
    "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n",
    "0: 'tench',\n1: 'goldfish',\n2: 'shark',\n",
    "{0: 'tench', 1: 'goldfish'}",
    '{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}',
    '[{"id": 1, "name": "tench"}, {"id": 2, "name": "goldfish"}]',
    '{"id2label": {"0": "tench", "1": "goldfish"}}',
    "index,name\n0,tench\n1,\"goldfish, gold\"\n",
    "id\tname\n0\ttench\n1\tgoldfish\n",
    "item { id: 1 name: 'n01440764' display_name: 'tench' }\nitem { id: 2 name: 'n01443537' display_name: 'gold' }\n",
    "/a/airfield 0\n/a/alley 1\n",
    "# a comment\ntench 0\ngoldfish 1\n",
]  # fmt: skip
_LISTS = [
    "a/1.jpg 0\na/2.jpg 1\nb/3.jpg 0\n",
    "path,label\na/1.jpg,cat\nb/2.jpg,dog\n",
    ",filename,class_id,class_name\n0,a/1.jpg,3,cat\n1,b/2.jpg,4,dog\n",
    '[{"file_name": "a/1.jpg", "label": 0}, {"file_name": "b/2.jpg", "label": 1}]',
    '{"a/1.jpg": "cat", "b/2.jpg": "dog"}',
    '{"labels": [["a/1.jpg", 0], ["b/2.jpg", 1]]}',
    '{"image": "a/1.jpg", "label": 2}\n{"image": "b/2.jpg", "label": 1}\n',
    "a/1.jpg;cat\nb\\2.jpg;dog\n",
    "1 a/1.jpg\n2 b/2.jpg\n",
]
_AWAY = ("../1.jpg", "/etc/1.jpg", "a/../../1.jpg", "..\\1.jpg", "C:\\1.jpg", "a\0.jpg", "a" * 300 + ".jpg", "a/\n.jpg")


class _Texts(Kind):
    texts: list[str]

    def make_seeds(self) -> list[str]:
        return self.texts

    def case(self, random: random.Random) -> bytes:
        text = random.choice(self.seeds)
        if random.random() < 0.6:
            data = mutated_text(text, self.seeds, random).encode()
        else:
            data = mutated(
                text.encode(random.choice(("utf-8", "utf-8", "utf-16", "utf-8-sig"))), [b"\xff\xfe{"], random
            )
        return random.choice(_SUFFIXES).encode() + b"\0" + data


class Labels(_Texts):
    """Files of class names."""

    expected = (ValueError,)  # a clause of the message that the openers write
    texts = _NAMES
    costly = 0.5

    def read(self, case: bytes) -> None:
        suffix, _, data = case.partition(b"\0")
        classes = parse_classes(data, suffix.decode())
        assert len(classes.names) == len(classes.ids)


class Lists(_Texts):
    """Lists of images, whose names must not lead out of their folder."""

    texts = _LISTS
    costly = 2.0

    def case(self, random: random.Random) -> bytes:
        if random.random() < 0.2:
            text = random.choice(self.seeds).replace("a/1.jpg", random.choice(_AWAY))
            return random.choice(_SUFFIXES).encode() + b"\0" + text.encode()
        return super().case(random)

    def read(self, case: bytes) -> None:
        suffix, _, data = case.partition(b"\0")
        path = self.folder / f"list{suffix.decode()}"
        path.write_bytes(data)
        source = open_list("toy", path, (), limit=None, cache=self.folder / "cache", progress=None)
        for name in source.names:
            assert not name.startswith("/") and ".." not in name.split("/"), name
