"""The settings of a definition's text that are not in the schema, and the layers that state them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[{}<>\[\]:;,]|[^\s{}<>\[\]:;,#"']+""")


@dataclass(frozen=True)
class UnknownSetting:
    """A field of a text that its message does not have.

    line : in the text, from 1.
    message : name of the message type, such as "LRNParameter".
    known : the fields that the message has.
    layer : number of the layer in the text, from 0; -1 outside the layers.
    """

    line: int
    message: str
    name: str
    known: tuple[str, ...]
    layer: int


def unknown_settings(text: str, form: Any) -> list[UnknownSetting]:
    """The fields of a text in protobuf's text form that its messages do not have; what is in them is passed over.

    text : a text that protobuf can read when it passes over unknown fields.
    form : descriptor of the message that the text states.
    """
    unknown: list[UnknownSetting] = []
    messages: list[Any] = [form]  # descriptors of the messages that are open; None for one that is unknown
    lists: list[tuple[Any, bool]] = []  # for each list that is open, what its braces open
    opens: tuple[Any, bool] = (None, False)  # descriptor of the message that the next brace opens; is it a layer?
    layer = -1
    tokens = [*_tokens(text), ("", 0)]
    for (token, line), (following, _) in zip(tokens, tokens[1:], strict=False):
        if token in ("{", "<"):
            layer += opens[1]
            messages.append(opens[0])
        elif token in ("}", ">"):
            messages.pop()
            opens = lists[-1] if lists else (None, False)
        elif token == "[":
            lists.append(opens)
        elif token == "]":
            lists.pop()
        elif token not in (":", ",", ";") and following in (":", "{", "<", "["):
            message = messages[-1]
            field = None if message is None else message.fields_by_name.get(token)
            opens = (None if field is None else field.message_type, message is form and token in ("layer", "layers"))
            if message is not None and field is None:
                known, at = tuple(message.fields_by_name), layer if len(messages) > 1 else -1
                unknown.append(UnknownSetting(line, message.name, token, known, at))
    return unknown


def _tokens(text: str) -> Iterator[tuple[str, int]]:
    line, end = 1, 0
    for match in _TOKEN.finditer(text):
        line += text.count("\n", end, match.start())
        end = match.start()
        if not match[0].startswith("#"):
            yield match[0], line
