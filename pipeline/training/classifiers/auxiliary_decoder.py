"""An auxiliary decoder: it makes a classifier in training keep in its code what an earlier layer contains."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional

_GRID = 4  # rows and columns of the decoder's first map; its output has twice as many
_CHANNELS = 128  # channels of that map


class AuxiliaryDecoder(nn.Module):
    """A classifier in training with a small decoder, which is removed after the training.

    The decoder reconstructs the values of the layer `target` from those of a later layer `code`, and the classifier
    learns to make this possible. Without it a code keeps only what separates the classes, and a prior that inverts
    such a code gives poor images.
    Source: Zhang, Lee & Lee 2016, Augmenting supervised neural networks with unsupervised objectives (layer-wise).
    """

    def __init__(self, network: nn.Sequential, *, target: str, channels: int, code: str, entries: int) -> None:
        """
        network : layers by name; the last one is the softmax.
        target : name of a ReLU whose value is a map, (batch, channels, row, column).
        channels : channels of that map.
        code : name of a ReLU whose value is a vector, (batch, entries).
        entries : length of that vector.
        """
        super().__init__()
        self.network, self.target, self.code = network, target, code
        self.decoder = nn.Sequential(
            OrderedDict(
                fc=nn.Linear(entries, _CHANNELS * _GRID * _GRID),
                relu=nn.ReLU(),
                grid=nn.Unflatten(1, (_CHANNELS, _GRID, _GRID)),
                up=nn.ConvTranspose2d(_CHANNELS, channels, 4, stride=2, padding=1),
            )
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits, (batch, class), and the decoder's squared error as a share of the target's mean square.

        A target of another size is first resized to the decoder's output. The error has no gradient at the target.
        """
        value, target, decoded = images, None, None
        for name, layer in self.network[:-1].named_children():
            value = layer(value)
            if name == self.target:
                target = value.detach().float()
            if name == self.code:
                decoded = self.decoder(value).float()
        target = functional.interpolate(target, decoded.shape[-2:], mode="bilinear", align_corners=False)
        return value, functional.mse_loss(decoded, target) / target.square().mean()
