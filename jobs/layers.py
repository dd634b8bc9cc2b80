"""Print how a network reads images, and its layer table: maps, receptive fields, the centre unit's window and cost."""

from __future__ import annotations

from omegaconf import DictConfig

from jobs.console import DONE, run_job
from jobs.request import read_model
from pipeline.card import NetworkCard

SHOWN = 3  # names of classes


def layers(config: DictConfig) -> int:
    """Print the table; return the exit code."""
    from pipeline.nets.network_card import network_card
    from pipeline.nets.open_network import open_network

    network = open_network(read_model(config.model))
    card = network_card(network)
    wide = max(len(layer.name) for layer in card.layers)
    guess = " (a guess; say otherwise by model.class_layer=…)" if card.class_layer_guessed else ""
    named = f"class layer: {card.class_layer}{guess}"
    print(f"{card.name}@{card.digest[:12]}  {card.width}x{card.height} {card.order}  {named}")
    print(f"reads (pixel level - mean) * gain: {_reading(card)}")
    print(f"class names: {_labels(card.labels)}")
    print(
        f"{'layer':{wide}} {'kind':8} {'units':>6} {'map':>9} {'field':>9} {'stride':>7} {'first':>7} "
        f"{'rows, columns of centre':>22} {'window':11} {'cone MMAC':>10} {'image MMAC':>10}   what is measured"
    )
    for layer in card.layers:
        top, left, bottom, right = layer.window
        about = f"the same as {layer.same_as}" if layer.same_as else layer.measure
        mark = "*" if layer.shown else " "
        print(
            f"{layer.name:{wide}} {layer.kind:8} {layer.channels:6} {_pair(layer.width, layer.height):>9} "
            f"{_pair(layer.window_size[1], layer.window_size[0]):>9} {layer.window_stride[0]:7} "
            f"{layer.window_offset[0]:7} {f'{top}-{bottom - 1}, {left}-{right - 1}':>22} "
            f"{layer.window_status:11} {layer.macs['window'] / 1e6:10.1f} {layer.macs['image'] / 1e6:10.1f} "
            f"{mark} {about}"
        )
    print("* shown by default; any other layer by its name, as units=[NAME]")
    for note in network.notes:
        print(note)
    return DONE


def _reading(card: NetworkCard) -> str:
    """Mean and gain of each channel, and how photos are resized; of a mean image the mean level is shown."""
    mean = ", ".join(f"{sum(map(sum, plane)) / sum(map(len, plane)):.6g}" for plane in card.mean)
    gain = ", ".join(f"{factor:.6g}" for factor in card.gain)
    return f"mean {mean}; gain {gain}; photos are resized by {card.interpolation} interpolation"


def _labels(labels: tuple[str, ...]) -> str:
    if not labels:
        return "none"
    return f"{len(labels)}: {'; '.join(labels[:SHOWN])}{'; …' if len(labels) > SHOWN else ''}"


def _pair(width: int, height: int) -> str:
    return f"{width}x{height}"


if __name__ == "__main__":
    run_job(layers, "layers", __doc__)
