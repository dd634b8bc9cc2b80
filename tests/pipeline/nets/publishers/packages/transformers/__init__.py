"""A transformers of one tiny network: its classes, files and errors as in transformers 5.24.

A repository is a folder, or one of the cache of huggingface_hub with "--" for "/".
"""

import json
import os
from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from transformers import utils as utils

__version__ = "5.24.0"


@dataclass
class ImageClassifierOutput(OrderedDict):
    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None


class TinyForImageClassification(nn.Module):
    main_input_name = "pixel_values"

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.config = config
        self.convolution = nn.Conv2d(config.num_channels, 4, 3)
        self.classifier = nn.Linear(4, len(config.id2label))

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> ImageClassifierOutput:
        pooled = torch.relu(self.convolution(pixel_values)).mean((2, 3))
        return ImageClassifierOutput(logits=self.classifier(pooled))

    def save_pretrained(self, folder: str) -> None:
        os.makedirs(folder, exist_ok=True)
        save_file(self.state_dict(), os.path.join(folder, "model.safetensors"))
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump(vars(self.config) | {"architectures": [type(self).__name__]}, file)


class TinyTextModel(TinyForImageClassification):
    main_input_name = "input_ids"


class TinyImageProcessor:
    def __init__(self, **settings: object) -> None:
        self.do_resize, self.do_rescale, self.do_normalize = True, True, True
        self.size, self.resample, self.rescale_factor = {"height": 16, "width": 16}, 3, 1 / 255
        self.image_mean, self.image_std, self.do_flip_channel_order, self.gamma = (
            (0.5, 0.4, 0.3),
            (0.25, 0.2, 0.1),
            0,
            1,
        )
        vars(self).update(settings)

    def __call__(self, images: Image.Image, return_tensors: str) -> dict[str, torch.Tensor]:
        size = (self.size["width"], self.size["height"])
        image = images.resize(size, Image.Resampling(self.resample)) if self.do_resize else images
        pixels = np.atleast_3d(np.asarray(image, np.float32))
        pixels = pixels[..., ::-1] if self.do_flip_channel_order else pixels
        pixels = pixels**self.gamma * (self.rescale_factor if self.do_rescale else 1)
        if self.do_normalize:
            pixels = (pixels - np.array(self.image_mean, np.float32)) / np.array(self.image_std, np.float32)
        return {"pixel_values": torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None]}

    def save_pretrained(self, folder: str) -> None:
        with open(os.path.join(folder, "preprocessor_config.json"), "w") as file:
            json.dump(vars(self), file)


def TinyConfig(**settings: object) -> SimpleNamespace:
    names = {0: "ant", 1: "bee", 2: "cat"}
    return SimpleNamespace(**{"model_type": "tiny", "num_channels": 3, "id2label": names, **settings})


def _file(repo: str, name: str) -> str:
    if os.path.isdir(repo):
        path = os.path.join(repo, name)
        if not os.path.exists(path):
            raise OSError(f"{repo} does not appear to have a file named {name}. Checkout …")
        return path
    cached = os.path.join(constants.HF_HUB_CACHE, repo.replace("/", "--"), name)
    if os.path.exists(cached):
        return cached
    if constants.HF_HUB_OFFLINE:
        raise OSError("We couldn't connect to 'https://huggingface.co' to load the files.\nCheck your connection.")
    raise OSError(f"{repo} is not a local folder and is not a valid model identifier listed on '…'\nIf this …")


class AutoConfig:
    @staticmethod
    def from_pretrained(repo: str, revision: str = "main", **changes: object) -> SimpleNamespace:
        with open(_file(repo, "config.json")) as file:
            values = json.load(file)
        if "model_type" not in values:
            raise ValueError(f"Unrecognized model in {repo}. Should have a `model_type` key in its config.json.\nOr …")
        values["id2label"] = {int(key): name for key, name in values["id2label"].items()}
        return SimpleNamespace(**values | changes)


class AutoModelForImageClassification:
    @staticmethod
    def from_config(config: SimpleNamespace) -> nn.Module:
        return (TinyTextModel if config.model_type == "text" else TinyForImageClassification)(config)

    @classmethod
    def from_pretrained(
        cls, repo: str, config: SimpleNamespace, output_loading_info: bool, revision: str = "main"
    ) -> tuple[nn.Module, dict[str, set[str]]]:
        module = cls.from_config(config)
        missing, unexpected = module.load_state_dict(load_file(_file(repo, "model.safetensors")), strict=False)
        return module, {"missing_keys": set(missing), "unexpected_keys": set(unexpected)}


class AutoModel(AutoModelForImageClassification):
    pass


class AutoImageProcessor:
    @staticmethod
    def from_pretrained(repo: str, revision: str = "main") -> TinyImageProcessor:
        with open(_file(repo, "preprocessor_config.json")) as file:
            return TinyImageProcessor(**json.load(file))
