"""A safe part of Markdown as HTML, enough for cards: everything is escaped, and nothing leads out of the site.

Headings, paragraphs, lists, tables, quotes, rules, fenced code; `code`, **strong**, *emphasis*, [text](address). An
address stands after its text as text, so that a page stays whole without a network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from markupsafe import Markup, escape

_SPAN = re.compile(
    r"(?P<code>`[^`]+`)|\*\*(?P<strong>.+?)\*\*|(?<![\w*])[*_](?P<emphasis>[^\s*_](?:[^*_]*[^\s*_])?)[*_](?![\w*])"
    r"|!?\[(?P<text>[^\]]*)\]\((?P<address>[^)\s]*)\)|<(?P<bare>https?://[^>\s]+)>"
)
_HEADING = re.compile(r"(#{1,6})\s+(.*?)\s*#*$")
_BULLET, _NUMBER = re.compile(r"\s*[-*+]\s+(.*)"), re.compile(r"\s*\d+[.)]\s+(.*)")
_RULE = re.compile(r"\s*([-*_])(\s*\1){2,}\s*$")
_DELIMITER = re.compile(r"\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$")
_DEEPEST = 6


def html(text: str, top: int = 2) -> Markup:
    """The text as HTML, its first level of headings as h<top>."""
    return Markup("\n").join(_blocks(text.expandtabs(4).splitlines(), top))


def _blocks(lines: list[str], top: int) -> Iterator[Markup]:
    at = 0
    while at < len(lines):
        line = lines[at]
        taken = 1
        if not line.strip():
            pass
        elif line.lstrip().startswith("```"):
            inside = _until(lines, at + 1, lambda text: text.lstrip().startswith("```"))
            taken = len(inside) + 2
            yield Markup("<pre>{}</pre>").format("\n".join(inside))
        elif heading := _HEADING.match(line):
            level = min(len(heading[1]) + top - 1, _DEEPEST)
            yield Markup("<h{0}>{1}</h{0}>").format(level, _spans(heading[2]))
        elif _RULE.match(line):
            yield Markup("<hr>")
        elif at + 1 < len(lines) and "|" in line and _DELIMITER.match(lines[at + 1]):
            rows = [line, lines[at + 1], *_until(lines, at + 2, lambda text: "|" not in text)]
            taken = len(rows)
            yield _table(rows)
        elif line.lstrip().startswith(">"):
            inside = _until(lines, at, lambda text: not text.lstrip().startswith(">"))
            taken = len(inside)
            quoted = [text.lstrip()[1:].removeprefix(" ") for text in inside]
            yield Markup("<blockquote>{}</blockquote>").format(Markup("\n").join(_blocks(quoted, top)))
        elif _BULLET.match(line) or _NUMBER.match(line):
            marker, name = (_BULLET, "ul") if _BULLET.match(line) else (_NUMBER, "ol")
            inside = _until(lines, at, lambda text, marker=marker: not (marker.match(text) or _hangs(text)))
            taken = len(inside)
            yield _list(inside, marker, name)
        else:
            inside = [line, *_until(lines, at + 1, _begins)]
            taken = len(inside)
            yield Markup("<p>{}</p>").format(_spans(" ".join(text.strip() for text in inside)))
        at += taken


def _until(lines: list[str], start: int, ends: object) -> list[str]:
    """The lines from `start` on, before the first that ends them."""
    for at in range(start, len(lines)):
        if ends(lines[at]):
            return lines[start:at]
    return lines[start:]


def _hangs(line: str) -> bool:
    """Whether a line continues a list item."""
    return line.startswith("  ") and bool(line.strip())


def _begins(line: str) -> bool:
    """Whether a line ends the paragraph before it."""
    starts = line.lstrip().startswith(("```", ">")) or _HEADING.match(line) or _RULE.match(line)
    return not line.strip() or bool(starts or _BULLET.match(line) or _NUMBER.match(line))


def _list(lines: list[str], marker: re.Pattern[str], name: str) -> Markup:
    items: list[list[str]] = []
    for line in lines:
        mark = marker.match(line)
        if mark:
            items.append([mark[1]])
        else:
            items[-1].append(line.strip())
    inside = Markup("").join(Markup("<li>{}</li>").format(_spans(" ".join(item))) for item in items)
    return Markup("<{0}>{1}</{0}>").format(name, inside)


def _table(lines: list[str]) -> Markup:
    head, delimiter, *body = (_cells(line) for line in lines)
    right = [cell.endswith(":") for cell in delimiter]

    def row(cells: list[str], name: str) -> Markup:
        shown = (cells + [""] * len(head))[: len(head)]
        tags = (Markup(' class="r"') if at < len(right) and right[at] else "" for at in range(len(shown)))
        inside = (
            Markup("<{0}{1}>{2}</{0}>").format(name if cell else "td", tag, _spans(cell))  # no head without a name
            for tag, cell in zip(tags, shown, strict=True)
        )
        return Markup("<tr>{}</tr>").format(Markup("").join(inside))

    rows = Markup("").join(row(cells, "td") for cells in body)
    heads = Markup("<thead>{}</thead>").format(row(head, "th")) if any(head) else ""
    return Markup('<div class="scroll"><table>{}<tbody>{}</tbody></table></div>').format(heads, rows)


def _cells(line: str) -> list[str]:
    inside = line.strip().removeprefix("|")
    inside = inside[:-1] if inside.endswith("|") and not inside.endswith("\\|") else inside
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", inside)]


def _spans(text: str) -> Markup:
    """Text with its marks as elements; all else escaped."""
    spans, at = Markup(""), 0
    for match in _SPAN.finditer(text):
        spans += escape(text[at : match.start()]) + _span(match)
        at = match.end()
    return spans + escape(text[at:])


def _span(match: re.Match[str]) -> Markup:
    if match["code"]:
        return Markup("<code>{}</code>").format(match["code"][1:-1])
    if match["strong"]:
        return Markup("<strong>{}</strong>").format(_spans(match["strong"]))
    if match["emphasis"]:
        return Markup("<em>{}</em>").format(_spans(match["emphasis"]))
    address = match["bare"] or match["address"]
    shown = Markup('<span class="address">{}</span>').format(address)
    return shown if match["bare"] or not match["text"] else Markup("{} ({})").format(_spans(match["text"]), shown)
