"""A timm of three tiny networks: its functions, arguments, results and errors as in timm 1.0.31.

The weights of `tiny.a1_in3` are at the hub: a file in the folder that HF_HOME names, or, if the hub may be asked, one
at its endpoint. `wide` has no weights, and `fixed` is built for one size.
"""

import os
import urllib.request
from dataclasses import asdict, dataclass
from typing import Any

import torch
from huggingface_hub import constants
from torch import nn

from timm import data as data

__version__ = "1.0.31"


@dataclass
class PretrainedCfg:
    hf_hub_id: str | None = None
    tag: str | None = None
    architecture: str | None = None
    state_dict: Any = None
    input_size: tuple[int, int, int] = (3, 16, 16)
    fixed_input_size: bool = False
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    crop_mode: str = "center"
    mean: tuple[float, ...] = (0.5, 0.4, 0.3)
    std: tuple[float, ...] = (0.25, 0.2, 0.1)
    num_classes: int = 3
    label_names: tuple[str, ...] | None = None
    label_descriptions: dict[str, str] | None = None
    classifier: Any = "head.fc"


_CARDS = {
    "tiny": {"a1_in3": PretrainedCfg("timm/tiny.a1_in3", "a1_in3"), "b2_own": PretrainedCfg(
        "timm/tiny.b2_own", "b2_own", input_size=(3, 12, 20), interpolation="nearest", label_names=("x", "y", "z"),
        label_descriptions={"x": "an x", "y": "a y"}, classifier=("head.fc", "head.dist"))},
    "wide": {"": PretrainedCfg(num_classes=5, classifier="head.gone")},
    "fixed": {"": PretrainedCfg(fixed_input_size=True)},
}  # fmt: skip


class _Head(nn.Module):
    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(x).flatten(1))


class _Net(nn.Module):
    def __init__(self, cfg: dict, num_classes: int, in_chans: int = 3, img_size: Any = None) -> None:
        super().__init__()
        self.pretrained_cfg = self.default_cfg = cfg
        self.num_classes = num_classes
        self.img_size = img_size
        self.stem = nn.Conv2d(in_chans, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU()
        self.head = _Head(4, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.act(self.norm(self.stem(x))))


def is_model(name: str) -> bool:
    return name.split(".")[0] in _CARDS


def list_models(filter: str = "", pretrained: bool = False, include_tags: bool | None = None) -> list[str]:
    include_tags = pretrained if include_tags is None else include_tags
    names = []
    for architecture, cards in _CARDS.items():
        if filter and filter != architecture:
            continue
        if include_tags:
            names += [f"{architecture}.{tag}" if tag else architecture for tag in cards]
        else:
            names.append(architecture)
    return names


def list_pretrained() -> list[str]:
    return ["tiny.a1_in3", "tiny.b2_own"]


def get_pretrained_cfg(name: str, allow_unregistered: bool = True) -> PretrainedCfg:
    architecture, _, tag = name.partition(".")
    cards = _CARDS[architecture]
    if tag and tag not in cards:
        raise RuntimeError(f"Invalid pretrained tag ({tag}) for {architecture}.")
    return cards[tag] if tag else next(iter(cards.values()))


def create_model(
    model_name: str,
    pretrained: bool = False,
    pretrained_cfg_overlay: dict | None = None,
    num_classes: int | None = None,
    in_chans: int = 3,
    img_size: Any = None,
) -> nn.Module:
    if model_name.startswith("hf-hub:"):
        model_name, folder = "tiny", model_name.removeprefix("hf-hub:")
        _fetched(folder, "config.json")
    if not is_model(model_name):
        raise RuntimeError(f"Unknown model ({model_name})")
    card = PretrainedCfg(**{**asdict(get_pretrained_cfg(model_name)), **(pretrained_cfg_overlay or {})})
    card.architecture = model_name.split(".")[0]
    classes = card.num_classes if num_classes is None else num_classes
    cfg = {key: value for key, value in asdict(card).items() if value is not None}
    net = _Net(cfg, classes, in_chans, img_size)
    if pretrained:
        state = card.state_dict
        if state is None and card.hf_hub_id is None:
            raise RuntimeError(f"No pretrained weights exist for {model_name}. Use `pretrained=False` for random init.")
        if state is None:
            state = torch.load(_fetched(card.hf_hub_id, "pytorch_model.bin"), weights_only=True)
        state = {key.replace("old_stem", "stem"): value for key, value in state.items()}  # its checkpoint filter
        if classes != card.num_classes:
            state = {key: value for key, value in state.items() if not key.startswith("head.fc")}
        net.load_state_dict(state, strict=classes == card.num_classes)
    return net


def _fetched(repo: str, name: str) -> str:
    """The cached file of a repository, or the one at the hub."""
    cached = os.path.join(constants.HF_HUB_CACHE, repo.replace("/", "--"), name)
    if os.path.exists(cached):
        return cached
    if constants.HF_HUB_OFFLINE:
        raise OSError("offline mode is enabled")
    with urllib.request.urlopen(f"{constants.ENDPOINT}/{repo}/resolve/main/{name}") as answer:
        content = answer.read()
    os.makedirs(os.path.dirname(cached), exist_ok=True)
    with open(cached, "wb") as file:
        file.write(content)
    return cached
