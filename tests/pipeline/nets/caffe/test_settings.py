"""Fields that the schema does not have are found with their line and their layer."""

from __future__ import annotations

import pytest

from pipeline.nets.caffe.schema import NetParameter
from pipeline.nets.caffe.settings import unknown_settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('name: "x" layer { name: "a" }', []),
        ("layer { lrn_param { size: 3 } }", [("size", "LRNParameter", 0)]),
        ("layer { lrn_param: { size: 3 } }", [("size", "LRNParameter", 0)]),
        ("layer: < lrn_param < size: 3 > >", [("size", "LRNParameter", 0)]),
        ("input_shape { dim: 1 } layer { } layer { foo: 1 }", [("foo", "LayerParameter", 1)]),
        ("layer [ { foo: 1 }, { }, { bar { x: 1 } } ]", [("foo", "LayerParameter", 0), ("bar", "LayerParameter", 2)]),
        ("layer { foo { lrn_param { size: 3 } x: [1, 2] } name: 'a' bar: 1 }", [("foo",) * 1, ("bar",) * 1]),
        ("layer { foo: [ { a: 1 }, { b: 2 } ] lrn_param { size: 3 } }", [("foo",), ("size",)]),
        ("layer { name: 'foo: 1 {' # bar: {\n }", []),
        ('layer { name: "a\\"foo: {" }', []),
        ("solver { x: 1 } layers { bar: 2 }", [("solver", "NetParameter", -1), ("bar", "V1LayerParameter", 0)]),
        ("layer { convolution_param { kernel_size: [3, 3] hole: 2; foo: -1.5e3, } }", [("foo",)]),
    ],
)
def test_unknown_fields_are_found(text, expected):
    found = unknown_settings(text, NetParameter.DESCRIPTOR)
    whole = [(one.name, one.message, one.layer) for one in found]
    assert [one[: len(wanted)] for one, wanted in zip(whole, expected, strict=True)] == expected


def test_the_line_is_that_of_the_field():
    text = "# one\nlayer {\n\n  lrn_param { # two\n    local_size: 3\n    size: 3\n  }\n}\n"
    (found,) = unknown_settings(text, NetParameter.DESCRIPTOR)
    assert found.line == 6
    assert "local_size" in found.known
