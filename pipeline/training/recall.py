"""A classifier that has to remember: what its code forgets, no prior can draw."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

_GRID = 4  # rows and columns where the decoder begins, half of those that it ends with
_CHANNELS = 128  # of that grid


class Recall(nn.Module):
    """A classifier in training beside a small decoder, which is thrown away afterwards.

    The decoder tells the values of layer `told` from those of a later layer `code`; the classifier learns to let it.
    Left alone a code keeps what tells its classes apart, and a prior of it is a poor one.
    network : layers by name, the softmax last. told, code : names of ReLUs, of a map and of a vector.
    channels, entries : how many each has.
    Source: Zhang, Lee & Lee 2016, Augmenting supervised neural networks with unsupervised objectives (layer-wise).
    """

    def __init__(self, network: nn.Sequential, *, told: str, channels: int, code: str, entries: int) -> None:
        super().__init__()
        self.network, self.told, self.code = network, told, code
        self.decoder = nn.Sequential(
            OrderedDict(
                fc=nn.Linear(entries, _CHANNELS * _GRID * _GRID),
                relu=nn.ReLU(),
                grid=nn.Unflatten(1, (_CHANNELS, _GRID, _GRID)),
                up=nn.ConvTranspose2d(_CHANNELS, channels, 4, stride=2, padding=1),
            )
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What stands before the softmax, (batch, class); and the error of what is told, a share of its energy."""
        value, wanted, found = images, None, None
        for name, layer in self.network[:-1].named_children():
            value = layer(value)
            if name == self.told:
                wanted = value.detach().float()
            if name == self.code:
                found = self.decoder(value).float()
        wanted = functional.interpolate(wanted, found.shape[-2:], mode="bilinear", align_corners=False)
        return value, functional.mse_loss(found, wanted) / wanted.square().mean()
