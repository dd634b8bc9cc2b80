"""Generators on windows: what is drawn of an image is that part of the whole image."""

from __future__ import annotations

from pathlib import Path

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pipeline.nets
from pipeline.nets.caffe import caffe_function, weight_shapes
from pipeline.nets.interval import Interval
from pipeline.nets.portion import Portion
from pipeline.priors.generator import Generator, GeneratorShape
from pipeline.priors.windowed import generator_graph, windowed

FORMS = [(6,), (3, 4, 4), (3, 5, 6)]  # codes: a vector; a map of the grid's size; one that is stretched


def generator(code: tuple[int, ...], notch: bool, side: int = 28) -> Generator:
    torch.manual_seed(1)
    made = Generator(
        GeneratorShape(code, (side, side - 4), hidden=6, grid_channels=8, least_channels=3, twice_up_to=14, slope=0.2,
                       scale=0.7, notch=notch)
    )  # fmt: skip
    for parameter in made.parameters():  # nothing is alike any more
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return made.eval().requires_grad_(False)


@settings(deadline=None, max_examples=15)
@given(code=st.sampled_from(FORMS), notch=st.booleans(), data=st.data())
def test_a_window_of_a_generator_is_that_part_of_its_image(code, notch, data):
    own = generator(code, notch)
    window = []
    for size in own.shape.size:
        start = data.draw(st.integers(0, size - 1))
        window.append(Interval(start, data.draw(st.integers(start + 1, size))))
    inside = (slice(None), slice(None), *(interval.as_slice() for interval in window))
    given_codes = torch.randn(2, *code, generator=torch.Generator().manual_seed(4))
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        own = own.to(dtype)
        codes = given_codes.to(dtype).requires_grad_()
        expected, got = own(codes)[inside], windowed(own, code, *window)(codes)
        torch.testing.assert_close(got, expected, rtol=0, atol=tolerance)
        slopes = [torch.autograd.grad(value.square().sum(), codes)[0] for value in (got, expected)]
        torch.testing.assert_close(*slopes, rtol=0, atol=tolerance * max(1.0, float(slopes[1].abs().max())))


def test_a_published_generator_draws_the_window_of_a_unit():
    definition = str(Path(pipeline.nets.__file__).parent / "definitions" / "deepsim_pool5.prototxt")
    random = torch.Generator().manual_seed(2)
    weights = {
        name: tuple((torch.randn(*shape, generator=random) / max(1, shape[-1]) ** 0.5).numpy() for shape in shapes)
        for name, shapes in weight_shapes(definition).items()
    }
    module, code, _ = caffe_function(definition, weights)
    codes = torch.randn(1, *code, generator=random)
    rows, columns = Interval(0, 23), Interval(101, 118)
    with torch.no_grad():
        whole = module(codes)
        part = windowed(module, tuple(code), rows, columns)(codes)
    difference = (part - whole[:, :, rows.as_slice(), columns.as_slice()]).abs().max()
    assert difference <= 1e-5 * whole.abs().max()
    small = Portion(generator_graph(module, tuple(code)), rows, columns)
    full = Portion(generator_graph(module, tuple(code)), *(Interval(0, size) for size in whole.shape[2:]))
    assert small.macs() < full.macs() / 2


def test_a_whole_image_is_drawn_by_the_generator_itself():
    own, codes = generator((6,), notch=True), torch.randn(2, 6)
    whole = windowed(own, (6,), *(Interval(0, size) for size in own.shape.size))
    assert torch.equal(whole(codes), own(codes))


def test_a_generator_of_another_form_is_cut():
    other = nn.Sequential(nn.Linear(6, 60), nn.Unflatten(1, (3, 4, 5)))
    codes = torch.randn(2, 6)
    assert generator_graph(other, (6,)) is None
    assert torch.equal(windowed(other, (6,), Interval(1, 3), Interval(0, 4))(codes), other(codes)[:, :, 1:3, :4])


def test_the_weights_are_shared():
    own = generator((6,), notch=False)
    shared = {parameter.data_ptr() for parameter in own.parameters()}
    graph = generator_graph(own, (6,))
    assert len(shared & {parameter.data_ptr() for parameter in graph.graph.parameters()}) >= 2 * 3
