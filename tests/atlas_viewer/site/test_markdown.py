"""Cards as HTML: what is meant as a mark is an element, all else is text, whatever it is."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas_viewer.site.markdown import html

ALLOWED = {
    *("h2", "h3", "h4", "h5", "h6", "p", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "div"),
    *("blockquote", "pre", "code", "strong", "em", "span", "hr"),
}


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.open, self.text, self.crossed = [], [], "", False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "hr":
            self.open.append(tag)

    def handle_endtag(self, tag):
        self.crossed |= not self.open or self.open.pop() != tag

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# One\n### Three #", "<h2>One</h2>\n<h4>Three</h4>"),
        ("a line\nand *its* **rest**", "<p>a line and <em>its</em> <strong>rest</strong></p>"),
        ("code_layer and 2 * 3 * 4", "<p>code_layer and 2 * 3 * 4</p>"),
        ("`a*b* <c>`", "<p><code>a*b* &lt;c&gt;</code></p>"),
        ("- one\n  goes on\n- two", "<ul><li>one goes on</li><li>two</li></ul>"),
        ("1. one\n2. two\n\nafter", "<ol><li>one</li><li>two</li></ol>\n<p>after</p>"),
        ("> said\n> so", "<blockquote><p>said so</p></blockquote>"),
        ("```sh\nx = *y*\n# z\n```\nend", "<pre>x = *y*\n# z</pre>\n<p>end</p>"),
        ("```\nnever closed", "<pre>never closed</pre>"),
        ("---", "<hr>"),
        ("[the recipe](docs/a.md)", '<p>the recipe (<span class="address">docs/a.md</span>)</p>'),
        ("<https://a.example/b>", '<p><span class="address">https://a.example/b</span></p>'),
        ('<img src=x onerror="y">', "<p>&lt;img src=x onerror=&#34;y&#34;&gt;</p>"),
        (
            "| a | b |\n| --- | ---: |\n| `x\\|y` | 1 |\n| z |",
            '<div class="scroll"><table><thead><tr><th>a</th><th class="r">b</th></tr></thead><tbody>'
            '<tr><td><code>x|y</code></td><td class="r">1</td></tr>'
            '<tr><td>z</td><td class="r"></td></tr></tbody></table></div>',
        ),
        (
            "|  | b |\n| --- | --- |\n| y | 1 |",
            '<div class="scroll"><table><thead><tr><td></td><th>b</th></tr></thead><tbody>'
            "<tr><td>y</td><td>1</td></tr></tbody></table></div>",
        ),
        (
            "|  |  |\n| --- | --- |\n| y | 1 |",
            '<div class="scroll"><table><tbody><tr><td>y</td><td>1</td></tr></tbody></table></div>',
        ),
    ],
)
def test_marks_become_elements(text, expected):
    assert html(text) == expected


LINES = st.lists(
    st.text(alphabet="ab <>&\"'`*_#|-:.!()[]1\\/ \t", max_size=24)
    | st.sampled_from(
        ["```", "| - | - |", "# x", "- y", "1. z", "> w", "", "[a](javascript:b)", "<script>a(1)</script>"]
    ),
    max_size=12,
)


@given(LINES)
def test_any_text_gives_whole_and_harmless_elements(lines):
    found = Tags(str(html("\n".join(lines))))
    assert not found.crossed and found.open == []
    for tag, attributes in found.tags:
        assert tag in ALLOWED
        assert set(attributes) <= {"class"}


@given(st.text(alphabet="abc <&", max_size=60))
def test_text_without_marks_is_kept(text):
    assert Tags(str(html(text))).text.split() == text.split()
