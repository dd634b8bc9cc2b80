"""Cards, styles and plans that tests of the values share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.card import LayerCard, NetworkCard
from pipeline.methods.ascent.settings import AscentSettings, StyleRecord, StyleSettings
from pipeline.plan import Plan
from pipeline.settings import DeviceSettings
from pipeline.units import Units

DEVICE = DeviceSettings(
    kind="cpu",
    threads=1,
    batch_bytes=10**6,
    max_batch=8,
    task_seconds=0.2,
    macs_per_second=1e6,
)
ASCENT = AscentSettings(canvas="window", start="item", image_dtype="float32", fresh_starts=1, trace_points=4)
STYLE = StyleSettings(
    name="plain",
    decay=0.0,
    blur_radius=0.5,
    blur_every=4,
    small_val_percentile=0.0,
    small_norm_percentile=0.0,
    px_benefit_percentile=0.0,
    px_abs_benefit_percentile=0.0,
    policy="scale_free",
    rate=1.0,
    max_rate=1.0,
    desired_progress=1.0,
    early_progress=1.0,
    late_progress_factor=1.0,
    step_start=4.0,
    step_end=0.4,
    max_iter=6,
    start_image="mean_plus_rand",
    keep="best",
    keep_from=0,
    direction="maximize",
)


def style_record(name: str = "plain", **changes: object) -> StyleRecord:
    return StyleRecord(replace(STYLE, name=name, **changes), ASCENT, 0, DEVICE)


def layer_card(name: str, kind: str = "conv", channels: int = 20, side: int = 5) -> LayerCard:
    return LayerCard(
        name=name,
        kind=kind,
        channels=channels,
        height=side,
        width=side,
        centre=(side // 2, side // 2),
        window_size=(9, 9),
        window_stride=(2, 2),
        window_offset=(-1, -1),
        window=(3, 3, 12, 12),
        open_window=(3, 3, 12, 12),
        measure=name,
        has_units=kind not in ("identity", "reshape"),
        macs={"window": 1000, "image": 9000},
        bytes={"window": 4000, "image": 40000},
        shown=kind in ("conv", "fc"),
    )


def network_card(digest: str = "a" * 64) -> NetworkCard:
    layers = (
        layer_card("conv1"),
        layer_card("relu1", "relu"),
        layer_card("fire2/expand", "conv", 7),
        layer_card("drop", "identity"),
        layer_card("fc8", "fc", 4, 1),
        layer_card("prob", "softmax", 4, 1),
    )
    return NetworkCard(
        name="toy",
        digest=digest,
        layers=layers,
        nodes=("image", *(layer.name for layer in layers)),
        edges=(("image", "conv1"), ("conv1", "relu1")),
        labels=("goldfish, Carassius auratus", "tench", "school bus", "<b>odd</b>"),
        class_layer="fc8",
        height=32,
        width=32,
        order="RGB",
        mean=(((100.0,),), ((110.0,),), ((120.0,),)),
        gain=(1.0, 1.0, 1.0),
    )


def small_plan(samples: int = 2, **units: tuple[int, ...]) -> Plan:
    chosen = units or {"conv1": tuple(range(20)), "fc8": (0, 1, 2, 3)}
    return asking_styles(chosen, [style_record()], samples)


def asking_styles(units: Units, styles: Sequence[StyleRecord], samples: int, card: NetworkCard | None = None) -> Plan:
    """The plan of one request for styles."""
    return Plan(network_card() if card is None else card).asking("ascent", styles, units, samples)
