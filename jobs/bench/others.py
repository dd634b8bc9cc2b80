"""Steps of other programs for feature visualization, where they are installed: lucent and torch-dreams.

They do not need all that they name as their requirements, which would replace torch:
pip install ipython decorator scikit-learn kornia-rs 'opencv-python-headless<5'
pip install --no-deps torch-lucent torch-dreams torchvision==0.28.0 kornia==0.4.1
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from pipeline.nets.network import Network

Step = Callable[[str, int], object]  # layer, number of steps of its first unit → anything


class Named(nn.Module):
    """A network as other programs expect it: a module for each layer, and the whole forward pass.

    Its modules are copies, because lucent leaves its hooks on them.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        network = copy.deepcopy(network)
        self._run, self._last = network.run, list(network.layers)[-1]
        for layer in network.layers:
            self.add_module(layer, network.operator(network.layer(layer).node))

    def forward(self, image: Tensor) -> Tensor:
        return self._run(image, [self._last])[self._last]


def other_programs(network: Network) -> dict[str, Step]:
    """Name → steps of gradient ascent with the program's defaults, at the network's input size, one image at a time.

    The settings that a call has are the program's own, except that torch-dreams does not scale the image: it would
    leave the size that inner products need.
    """
    try:
        from jobs.zoo.vision import torchvision  # noqa: F401 - both import it, with operators that may not fit
    except ImportError:
        return {}
    size, named, programs = network.preprocessing, Named(network).eval(), {}
    try:
        from lucent.optvis.render import render_vis
    except ImportError:
        pass
    else:

        def lucent(layer: str, steps: int) -> object:
            return render_vis(
                named, f"{layer}:0", thresholds=(steps,), progress=False, show_image=False,
                fixed_image_size=(size.height, size.width),
            )  # fmt: skip

        programs["lucent"] = partial(_quietly, lucent)
    try:
        from torch_dreams import Dreamer
    except ImportError:
        pass
    else:
        dreamer = Dreamer(named, quiet=True, device="cpu")

        def torch_dreams(layer: str, steps: int) -> object:
            return dreamer.render(
                layers=[named.get_submodule(layer)], width=size.width, height=size.height, iters=steps,
                scale_max=1.0, scale_min=1.0, custom_func=lambda layers: layers[0][0, 0].mean(),
            )  # fmt: skip

        programs["torch-dreams"] = partial(_quietly, torch_dreams)
    return programs


def _quietly(step: Step, layer: str, steps: int) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return step(layer, steps)
