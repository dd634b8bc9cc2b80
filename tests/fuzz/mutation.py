"""Mutations of valid inputs. All randomness comes from the generator that is given, so a case can be made again."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Sequence
from typing import Any

# Lengths and counts that readers may allocate, loop over or seek to; both signs, and around powers of two.
_ABSURD = (0, 1, -1, 127, 128, 255, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
_NUMBERS = (
    *("0", "-1", "1e9", "4294967295", "9223372036854775807", "99999999999999999999", "1e308", "-1e-308", "nan"),
    *("inf", "1.5", "9" * 5000),
)
_TEXTS = ("", " ", "\0", "\n", "\r\n", "..", "../x", "/etc/passwd", "a" * 300, "ä", "\u202e", "${x}", "<b>", "'", '"')
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1.5, 1e308, float("nan"), 10**12, 2**63, -(2**70), "", "x", "..", "a" * 300, [], {}, [[]],
    [None], {"": None}, [0, 10**12], [[0, 10**15]],
)  # fmt: skip
_DEEP = "a deep value"
_DEPTHS = (10, 10, 30, 150, 150, 900, 1500, 1500, 3000, 100_000)
_TOKEN = re.compile(rb"""\s+|[{}\[\]()<>:;,=*|/"'#$]|[^\s{}\[\]()<>:;,=*|/"'#$]+""")


def mutated(data: bytes, seeds: Sequence[bytes], random: random.Random) -> bytes:
    """The bytes with one to four changes: flips, cuts, splices of other seeds, and numbers that are no lengths."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        data = random.choice(_CHANGES)(data, seeds, random)
    return data


def _flip(data: bytes, seeds: Sequence[bytes], random: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        if changed:
            changed[_place(len(changed), random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, seeds: Sequence[bytes], random: random.Random) -> bytes:
    at = _place(len(data), random)
    new = random.choice((b"\0" * 8, b"\xff" * 8, random.randbytes(4), random.randbytes(1)))
    return data[:at] + new + data[at + len(new) :]


def _cut(data: bytes, seeds: Sequence[bytes], random: random.Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _remove(data: bytes, seeds: Sequence[bytes], random: random.Random) -> bytes:
    at = _place(len(data), random)
    return data[:at] + data[at + random.choice((1, 2, 4, 16, 64)) :]


def _repeat(data: bytes, seeds: Sequence[bytes], random: random.Random) -> bytes:
    at, length = _place(len(data), random), random.choice((1, 4, 16, 64, 512))
    return data[:at] + data[at : at + length] * random.choice((2, 3, 50)) + data[at + length :]


def _splice(data: bytes, seeds: Sequence[bytes], random: random.Random) -> bytes:
    other = random.choice(seeds)
    return data[: _place(len(data), random)] + other[_place(len(other), random) :]


def _number(data: bytes, seeds: Sequence[bytes], random: random.Random) -> bytes:
    """A fixed-width integer in either byte order, or a varint as protobuf writes it."""
    at, value, width = _place(len(data), random), random.choice(_ABSURD), random.choice((2, 4, 8, 0))
    if width == 0:
        return data[:at] + _varint(value % 2**64) + data[at + 1 :]
    new = (value % 2 ** (8 * width)).to_bytes(width, random.choice(("little", "big")))
    return data[:at] + new + data[at + width :]


def _digits(data: bytes, seeds: Sequence[bytes], random: random.Random) -> bytes:
    """A number that is written in digits, as in texts and in the headers of tar, PPM and npy."""
    found = [*re.finditer(rb"\d+", data)]
    if not found:
        return data
    match, new = random.choice(found), random.choice(_NUMBERS).encode()
    if random.random() < 0.5:  # a field of fixed width
        new = new[: len(match[0])].rjust(len(match[0]), b"0")
    return data[: match.start()] + new + data[match.end() :]


_CHANGES = (_flip, _flip, _overwrite, _cut, _remove, _repeat, _splice, _number, _number, _digits)


def _place(length: int, random: random.Random) -> int:
    """A place in the data; every other time near the beginning, where headers are."""
    if length == 0:
        return 0
    return random.randrange(min(length, 64)) if random.random() < 0.4 else random.randrange(length)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def mutated_text(text: str, seeds: Sequence[str], random: random.Random) -> str:
    """The text with some of its tokens dropped, doubled, swapped, nested, or replaced by odd ones."""
    for _ in range(random.choice((1, 1, 2, 3, 6))):
        tokens = [token.decode() for token in _TOKEN.findall(text.encode("utf-8", "replace"))] or [""]
        at = random.randrange(len(tokens))
        match random.randrange(9):
            case 0:
                del tokens[at]
            case 1:
                tokens.insert(at, tokens[random.randrange(len(tokens))])
            case 2:
                other = random.randrange(len(tokens))
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case 3:
                tokens[at] = random.choice(_NUMBERS)
            case 4:
                tokens[at] = random.choice(_TEXTS)
            case 5:
                tokens.insert(at, random.choice("{}[]()<>:;,=*|/\"'#$\\&!?~"))
            case 6:
                opening, closing = random.choice(("{}", "[]", "()", "<>", ("x{", "}"), ("${", "}")))
                depth = random.choice(_DEPTHS)
                tokens[at] = opening * depth + tokens[at] + closing * random.choice((0, depth))
            case 7:
                other = random.choice(seeds)
                tokens[at:] = [other[random.randrange(len(other) + 1) :]]
            case _:
                digits = [place for place, token in enumerate(tokens) if token.isdigit()]
                if digits:
                    tokens[random.choice(digits)] = random.choice(_NUMBERS)
        text = "".join(tokens)
    return text


def mutated_json(value: Any, random: random.Random) -> str:
    """The JSON of the values with one to three of them replaced, removed, doubled or nested, some of them very deep."""
    value = json.loads(json.dumps(value))
    for _ in range(random.choice((1, 1, 2, 3))):
        paths = [*_paths(value, ())]
        if len(paths) < 2:
            value = copy.deepcopy(random.choice(_VALUES))
            break
        *way, last = random.choice(paths[1:])
        holder = value
        for key in way:
            holder = holder[key]
        match random.randrange(6):
            case 0:
                del holder[last]
            case 1:
                holder[last] = random.choice(([holder[last]], [[holder[last]]], {"x": holder[last]}, _DEEP))
            case 2:
                other = value
                for key in random.choice(paths):
                    other = other[key]
                holder[last] = json.loads(json.dumps(other))
            case 3 if isinstance(holder, dict):
                holder[random.choice(_TEXTS)] = holder.pop(last)
            case _:
                holder[last] = copy.deepcopy(random.choice((*_VALUES, *_TEXTS)))
    depth, (opening, closing) = random.choice(_DEPTHS), random.choice((("[", "]"), ('{"x":', "}")))
    return json.dumps(value).replace(f'"{_DEEP}"', opening * depth + "1" + closing * depth)


def _paths(value: Any, path: tuple[Any, ...]) -> Any:
    yield path
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _paths(part, (*path, key))
    elif isinstance(value, list):
        for at, part in enumerate(value):
            yield from _paths(part, (*path, at))
