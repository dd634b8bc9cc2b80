"""Small drawings: they are well-formed, in proportion, and escape what they are told."""

from __future__ import annotations

import math
from xml.etree import ElementTree

from atlas_viewer.site import figures

NAN = math.nan


def parse(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(str(markup))


def test_a_trace_rises_with_its_values_and_marks_the_step_that_is_kept():
    drawn = parse(figures.trace([0, 10, 20], [0.0, 5.0, 10.0], low=0.0, high=10.0, best=10))
    points = [tuple(map(float, pair.split(","))) for pair in drawn.find("polyline").get("points").split()]
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)
    mark = drawn.find("circle")
    assert (float(mark.get("cx")), float(mark.get("cy"))) == points[1]


def test_a_trace_that_ended_early_stops_where_it_ended():
    drawn = parse(figures.trace([0, 10, 20], [-1.0, 5.0, NAN], low=-1.0, high=5.0, best=10))
    assert len(drawn.find("polyline").get("points").split()) == 2
    assert drawn.find("path").get("d").startswith("M6 ")  # the line at zero


def test_a_trace_with_room_for_more_points_than_steps_fills_its_width():
    drawn = parse(figures.trace([0, 1, 2, -1, -1], [0.0, 5.0, 10.0, NAN, NAN], low=0.0, high=10.0, best=2))
    short = parse(figures.trace([0, 1, 2], [0.0, 5.0, 10.0], low=0.0, high=10.0, best=2))
    assert drawn.find("polyline").get("points") == short.find("polyline").get("points")


def test_a_trace_without_numbers_is_not_drawn():
    assert figures.trace([0, 10], [NAN, NAN], low=0.0, high=0.0, best=-1) == ""


def test_a_window_lies_where_it_lies_in_the_image():
    drawn = parse(figures.window((96, 64), (10, 20, 30, 44), (10, 20, 30, 44)))
    image, shown = drawn.findall("rect")
    assert (image.get("width"), image.get("height")) == ("64", "96")
    assert [shown.get(key) for key in ("x", "y", "width", "height")] == ["20", "10", "24", "20"]
    assert drawn.find("title").text == "20 × 24 of 96 × 64 pixels"


def test_what_sticks_out_of_the_image_is_drawn_around_it():
    drawn = parse(figures.window((96, 96), (0, 0, 96, 96), (-10, -10, 105, 105)))
    outside = drawn.findall("rect")[2]
    assert (outside.get("class"), outside.get("x"), outside.get("width")) == ("outside", "-10", "115")
    assert float(drawn.get("viewBox").split()[0]) <= -10


def test_branches_lie_in_lanes_of_their_own_and_children_right_of_parents():
    nodes = ("data", "a", "b", "a2", "join")
    edges = [("data", "a"), ("data", "b"), ("a", "a2"), ("a2", "join"), ("b", "join"), ("data", "join")]
    drawn = parse(figures.graph(nodes, edges, {}, {}))
    place = {c.find("title").text: (float(c.get("cx")), float(c.get("cy"))) for c in drawn.findall("circle")}
    assert len(set(place.values())) == len(nodes)
    assert all(place[a][0] < place[b][0] for a, b in edges)
    assert len(drawn.findall("path")) == len(edges)


def test_an_edge_that_skips_nodes_does_not_run_through_them():
    drawn = parse(figures.graph(("a", "b", "c"), [("a", "b"), ("b", "c"), ("a", "c")], {}, {}))
    straight, _, skipping = (path.get("d") for path in drawn.findall("path"))
    assert "L" in straight and "C" in skipping


def test_names_of_nodes_are_text():
    drawn = parse(figures.graph(("<a>", 'b"&'), [("<a>", 'b"&')], {'b"&': 'x.html?"'}, {'b"&': "3 <dead>"}))
    assert drawn.find("circle").find("title").text == "<a>"
    assert drawn.find("a").find("text").text == 'b"&'
    assert drawn.find("a").get("href") == 'x.html?"'
