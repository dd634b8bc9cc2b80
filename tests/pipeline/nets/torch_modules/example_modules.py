"""Small torch modules with the structures of common architectures, with random weights."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn


class Bottleneck(nn.Module):
    """As in ResNet-50: in-place ReLUs, and one module that is used three times."""

    def __init__(self, inputs: int, inner: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        identity = x if self.shortcut is None else self.shortcut(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Bottleneck(8, 4, 16, 1), Bottleneck(16, 4, 16, 1))
        self.layer2 = nn.Sequential(Bottleneck(16, 8, 32, 2))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(32, 10)

    def forward(self, x):
        x = self.maxpool(F.relu(self.bn1(self.conv1(x)), inplace=True))
        x = self.avgpool(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(x, 1))


class Inception(nn.Module):
    """Branches with cat, functional pooling with ceil_mode, a view that depends on the size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, 2)
        self.norm = nn.LocalResponseNorm(3, alpha=0.01, beta=0.6, k=2.0)
        self.one, self.two = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 6, 3, padding="same")
        self.three = nn.Conv2d(8, 2, (1, 5), padding=(0, 2))
        self.classifier = nn.Linear(20 * 3 * 3, 5)

    def forward(self, x):
        x = self.norm(F.relu(self.stem(x)))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        pooled = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        x = torch.cat((self.one(x).relu(), torch.relu(self.two(x)), F.leaky_relu(self.three(x), 0.1), pooled), dim=1)
        x = F.dropout(F.adaptive_avg_pool2d(x, (3, 3)), 0.4, training=self.training)
        return F.softmax(self.classifier(x.view(x.size(0), -1)), dim=1)


class DenseNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                OrderedDict(
                    norm=nn.BatchNorm2d(6 + 4 * i),
                    relu=nn.ReLU(inplace=True),
                    conv=nn.Conv2d(6 + 4 * i, 4, 3, padding=1),
                )
            )
            for i in range(3)
        )
        self.last, self.fc = nn.BatchNorm2d(18), nn.Linear(18, 7)

    def forward(self, x):
        features = [self.stem(x)]
        for block in self.blocks:
            features.append(block(torch.cat(features, 1)))
        x = F.relu(self.last(torch.cat(features, 1)), inplace=True)
        return self.fc(x.mean([2, 3]))


class SqueezeExcite(nn.Module):
    """Depthwise convolutions, a gate per channel, layer scale, activations beyond ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.SiLU(inplace=True))
        self.depthwise = nn.Conv2d(8, 8, 5, padding=2, groups=8)
        self.reduce, self.expand = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.scale = nn.Parameter(torch.rand(8, 1, 1))
        self.head, self.act = nn.Conv2d(8, 12, 1), nn.Hardswish(inplace=True)
        self.prelu, self.fc = nn.PReLU(12), nn.Linear(12, 3)

    def forward(self, x, mask=None):
        x = self.stem(x)
        y = self.depthwise(x)
        gate = torch.sigmoid(self.expand(F.gelu(self.reduce(y.mean((2, 3), keepdim=True)))))
        x = x + y * gate * self.scale
        x = self.prelu(self.act(self.head(2 * x - 1) / 4))
        return self.fc(F.adaptive_max_pool2d(x, 1).flatten(1))


class Shuffle(nn.Module):
    """Channels that are split, shuffled by sizes of the input, and concatenated; unequal adaptive windows."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.norm, self.pool = nn.GroupNorm(2, 8), nn.AdaptiveAvgPool2d(5)
        self.up, self.last = nn.ConvTranspose2d(8, 4, 3, 2, 1, output_padding=1), nn.Conv2d(4, 3, 3, dilation=2)

    def forward(self, x):
        x = F.relu(self.stem(x))
        kept, moved = x.chunk(2, dim=1)
        x = torch.cat([kept, self.branch(moved)], 1)
        batch, channels, height, width = x.size()
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).contiguous().view(batch, -1, height, width)
        x = self.pool(self.norm(x)) * x[:, :1, :5, :5]
        x = F.interpolate(self.up(x), scale_factor=2, mode="bilinear", align_corners=False)
        return torch.maximum(self.last(x), -self.last(x)).amax((2, 3))


class Transformer(nn.Module):
    """Tokens, attention, and a class token that is expanded to the batch size."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.norm, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp, self.head = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)), nn.Linear(8, 4)

    def forward(self, x):
        x = self.patches(x).flatten(2).permute(0, 2, 1)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1)
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.mlp(x)
        return self.head(x[:, 0])


class InPlace(nn.Module):
    """Overwrites values that are read again, without using the result."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.drop = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Dropout(0.3)

    def forward(self, x):
        x = self.conv(x)
        same = self.drop(x)
        self.relu(x)
        y = same.clone()
        y.mul_(2)
        return y + x


class Frozen(nn.Module):
    """Batch normalisation and convolutions as functions of plain buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        for name in ("scale", "shift", "mean"):
            self.register_buffer(name, torch.randn(4))
        self.register_buffer("var", torch.rand(4) + 0.5)

    def forward(self, x):
        x = F.conv2d(x, self.weight, stride=2)
        scale = self.scale * (self.var + 1e-5).rsqrt()
        x = x * scale.reshape(1, -1, 1, 1) + (self.shift - self.mean * scale).reshape(1, -1, 1, 1)
        return F.batch_norm(x, self.mean, self.var, self.scale, self.shift)


def sequential() -> nn.Sequential:
    """Similar to AlexNet: LRN, groups, ceil pooling with padding, flatten, dropout."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 8, 5, 2, 1),
            relu1=nn.ReLU(inplace=True),
            norm1=nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0),
            pool1=nn.MaxPool2d(3, 2, 1, ceil_mode=True),
            conv2=nn.Conv2d(8, 12, 3, padding=1, groups=2),
            relu2=nn.ReLU6(),
            pool2=nn.AvgPool2d(3, 2, 1, ceil_mode=True),
            flatten=nn.Flatten(),
            fc6=nn.Linear(12 * 6 * 6, 20),
            norm6=nn.BatchNorm1d(20),
            drop6=nn.Dropout(),
            fc8=nn.Linear(20, 6),
            prob=nn.Softmax(dim=1),
        )
    )


def seeded(build) -> nn.Module:
    """The module with random weights and random batch statistics."""
    torch.manual_seed(1)
    module = build()
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.uniform_(part.running_mean, -0.5, 0.5)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.5, 0.5)
    return module


ALL = (sequential, ResNet, Inception, DenseNet, SqueezeExcite, Shuffle, Transformer, InPlace, Frozen)
