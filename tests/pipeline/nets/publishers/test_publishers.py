"""Networks by their publishers' names, with tiny packages that act as timm, torchvision and transformers do."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import pickle
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from jobs.console import compose_config
from jobs.fetch import fetch
from jobs.layers import layers
from jobs.request import read_model
from pipeline.errors import AtlasError, DefinitionError, SettingsError, WeightsError
from pipeline.nets import open_network as opening
from pipeline.nets.network import Network
from pipeline.nets.open_network import open_network
from pipeline.nets.publishers.published import levels
from pipeline.nets.torch_modules import torch_network
from pipeline.settings import ModelSettings


def model(form: str, *overrides: str) -> ModelSettings:
    return read_model(compose_config("layers", [f"model={form}", *overrides]).model)


def opened(form: str, *overrides: str) -> Network:
    return open_network(model(form, *overrides))


def refused(form: str, *overrides: str) -> AtlasError:
    """The error of a model that cannot be opened: one line that survives pickling."""
    with pytest.raises(AtlasError) as caught:
        opened(form, *overrides)
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return caught.value


class Hub(http.server.ThreadingHTTPServer):
    """Serves `files`, path → content."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.address = f"http://127.0.0.1:{self.server_port}"


class HubHandler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(200 if self.path == "/" or self.path in self.server.files else 404)
        self.end_headers()

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(packages, monkeypatch):
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("TINY_HUB", server.address)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()


def saved(state: dict[str, torch.Tensor]) -> bytes:
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def trained_timm(name: str = "tiny", **arguments: object) -> nn.Module:
    import timm

    torch.manual_seed(5)
    net = timm.create_model(name, **arguments)
    nn.init.normal_(net.norm.running_mean)
    return net


# Cards -----------------------------------------------------------------------------------------------


def test_mean_and_gain_are_in_pixel_levels():
    mean, gain = levels((0.5, 0.4), (0.25, 0.2))
    levels_in, network_in = np.array([10.0, 200.0]), (np.array([10.0, 200.0]) / 255 - (0.5, 0.4)) / (0.25, 0.2)
    assert (levels_in - mean) * gain == pytest.approx(network_in, rel=1e-12)
    assert levels((0.5,), (0.5,), scale=1.0) == ((0.5,), (2.0,))


def test_timm_s_card_says_how_its_network_reads(packages):
    net = opened("timm", "model.timm=tiny", "model.pretrained=false")
    reads = net.preprocessing
    assert (net.name, net.class_layer) == ("tiny", "head.fc")
    assert (reads.height, reads.width, reads.order, reads.interpolation) == (16, 16, "RGB", "bicubic")
    assert reads.mean.ravel() == pytest.approx([127.5, 102, 76.5])
    assert reads.gain == pytest.approx([1 / 63.75, 1 / 51, 1 / 25.5])
    assert net.labels == ("tench, Tinca tinca", "goldfish", "shark")


def test_a_tag_has_a_card_of_its_own(packages):
    net = opened("timm", "model.timm=tiny.b2_own", "model.pretrained=false")
    assert net.labels == ("an x", "a y", "z")
    assert (net.preprocessing.height, net.preprocessing.width, net.preprocessing.interpolation) == (12, 20, "nearest")
    assert (net.name, net.class_layer) == ("tiny.b2_own", "head.fc")


def test_torchvision_s_weights_say_how_their_network_reads(packages):
    one = opened("torchvision", "model.torchvision=tiny:IMAGENET1K_V1", "model.pretrained=false")
    two = opened("torchvision", "model.torchvision=tiny", "model.pretrained=false")
    assert (one.preprocessing.height, one.preprocessing.interpolation) == (16, "bilinear")
    assert (two.preprocessing.height, two.preprocessing.interpolation) == (18, "bicubic")  # the default weights'
    assert two.preprocessing.mean.ravel() == pytest.approx([123.675, 116.28, 103.53])
    assert two.preprocessing.gain == pytest.approx([1 / (255 * part) for part in (0.229, 0.224, 0.225)])
    assert two.labels == ("tench", "goldfish", "shark") and two.class_layer == "classifier"
    assert (one.name, two.name) == ("tiny_IMAGENET1K_V1", "tiny")


@pytest.fixture
def picked(monkeypatch):
    """The names of results that open_network asks for."""
    asked = []

    def picking(name, module, preprocessing, labels, class_layer, output) -> Network:
        asked.append(output)
        return torch_network(name, module, preprocessing, labels, class_layer, output)

    monkeypatch.setattr(opening, "torch_network", picking)
    return asked


@pytest.fixture
def repository(packages, tmp_path):
    """Writes a folder as save_pretrained does, and returns its path."""

    def write(name: str = "net", processor: dict | None = None, **config: object) -> Path:
        import transformers

        torch.manual_seed(3)
        settings = transformers.TinyConfig(**config)
        module = transformers.AutoModelForImageClassification.from_config(settings)
        module.save_pretrained(tmp_path / name)
        if processor is not None:
            transformers.TinyImageProcessor(**processor).save_pretrained(tmp_path / name)
        return tmp_path / name

    return write


def test_a_folder_of_transformers_says_how_its_network_reads(repository, picked):
    net = opened("huggingface", f"model.repo={repository(processor={})}")
    assert picked == ["logits"]
    assert net.name == "net" and net.labels == ("ant", "bee", "cat")
    reads = net.preprocessing
    assert (reads.height, reads.width, reads.order, reads.interpolation) == (16, 16, "RGB", "bicubic")
    assert reads.mean.ravel().tolist() == pytest.approx([127.5, 102, 76.5], rel=1e-9)
    assert reads.gain.tolist() == pytest.approx([1 / 63.75, 1 / 51, 1 / 25.5], rel=1e-9)


@pytest.mark.parametrize(
    ("processor", "config", "expected"),
    [
        ({"do_normalize": False}, {}, ("RGB", [0, 0, 0], [1 / 255] * 3)),
        ({"do_rescale": False, "image_mean": (9, 8, 7), "image_std": (2, 2, 2)}, {}, ("RGB", [9, 8, 7], [0.5] * 3)),
        ({"rescale_factor": 1 / 127.5}, {}, ("RGB", [63.75, 51, 38.25], [4 / 127.5, 5 / 127.5, 10 / 127.5])),
        ({"do_flip_channel_order": True}, {}, ("BGR", [127.5, 102, 76.5], [1 / 63.75, 1 / 51, 1 / 25.5])),
        ({"image_mean": (0.5,), "image_std": (0.5,)}, {"num_channels": 1}, ("L", [127.5], [1 / 127.5])),
    ],
    ids=["scaled only", "not scaled", "another scale", "flipped", "grey"],
)  # fmt: skip
def test_processors_of_every_kind_are_measured(repository, picked, processor, config, expected):
    reads = opened("huggingface", f"model.repo={repository(processor=processor, **config)}").preprocessing
    order, mean, gain = expected
    assert reads.order == order
    assert reads.mean.ravel().tolist() == pytest.approx(mean, rel=1e-4, abs=1e-3)
    assert reads.gain.tolist() == pytest.approx(gain, rel=1e-4)


def test_the_network_reads_an_image_as_the_processor_gives_it(repository, picked):
    """What decides: the value of the whole network on a photo, against processor and module themselves."""
    import transformers
    from PIL import Image

    folder = str(repository(processor={"do_flip_channel_order": True, "rescale_factor": 1 / 100}))
    net = opened("huggingface", f"model.repo={folder}")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    module, _ = transformers.AutoModel.from_pretrained(
        folder, config=transformers.AutoConfig.from_pretrained(folder), output_loading_info=True
    )
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with torch.no_grad():
        theirs = module(processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]).logits
        ours = net.run(torch.from_numpy(net.preprocessing.centred(pixels[None])), [net.class_layer])
    assert ours[net.class_layer].numpy() == pytest.approx(theirs.numpy(), rel=1e-4, abs=1e-5)


def test_photos_are_resized_by_the_card_s_interpolation(packages):
    from PIL import Image

    net = opened("timm", "model.timm=tiny", "model.pretrained=false")
    photo = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    expected = np.asarray(Image.fromarray(photo).resize((16, 16), Image.Resampling.BICUBIC))
    assert np.array_equal(net.preprocessing.fitted(photo[None])[0], expected)
    bilinear = opened("timm", "model.timm=tiny", "model.pretrained=false", "model.interpolation=bilinear")
    assert bilinear.digest != net.digest  # they read other pixels of a photo


# Settings come before cards --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "value", "expected"),
    [
        ("model.mean=[1,2,3]", lambda net: net.preprocessing.mean.ravel().tolist(), [1, 2, 3]),
        ("model.gain=[1,2,3]", lambda net: net.preprocessing.gain.tolist(), [1, 2, 3]),
        ("model.size=[20,24]", lambda net: (net.preprocessing.height, net.preprocessing.width), (20, 24)),
        ("model.order=BGR", lambda net: net.preprocessing.order, "BGR"),
        ("model.interpolation=box", lambda net: net.preprocessing.interpolation, "box"),
        ("model.class_layer=stem", lambda net: net.class_layer, "stem"),
        ("model.labels=pipeline.data.doodles:CLASSES", lambda net: len(net.labels), 28),
        ("model.name=mine", lambda net: net.name, "mine"),
    ],
)
def test_what_the_user_gives_comes_before_the_card(packages, override, value, expected):
    overrides = ["model.timm=tiny", "model.pretrained=false", override]
    if "labels" in override:
        overrides.append("+model.build_arguments.num_classes=28")
    assert value(opened("timm", *overrides)) == expected


def test_a_network_for_one_size_is_built_for_the_size_that_is_given(packages):
    import timm

    built = []
    before = timm.create_model
    timm.create_model = lambda *args, **arguments: built.append(before(*args, **arguments)) or built[-1]
    opened("timm", "model.timm=fixed", "model.pretrained=false", "model.size=[20,24]")
    opened("timm", "model.timm=tiny", "model.pretrained=false", "model.size=[20,24]")
    assert [net.img_size for net in built] == [(20, 24), None]


def test_names_of_another_number_of_classes_are_left_out(packages):
    net = opened("timm", "model.timm=tiny", "model.pretrained=false", "+model.build_arguments.num_classes=7")
    assert net.labels == () and net.layer(net.class_layer).channels == 7
    net = opened(
        "torchvision", "model.torchvision=tiny", "model.pretrained=false", "+model.build_arguments.num_classes=7"
    )
    assert net.labels == ()


def test_a_class_layer_that_the_network_lacks_is_found_instead(packages):
    net = opened("timm", "model.timm=wide", "model.pretrained=false")  # its card names head.gone
    assert net.class_layer == "head.fc" and net.labels == ()


def test_classes_without_names_have_none(repository, picked):
    names = {number: f"LABEL_{number}" for number in range(3)}
    assert opened("huggingface", f"model.repo={repository(processor={}, id2label=names)}").labels == ()


def test_names_of_classes_stand_in_the_order_of_their_numbers(repository, picked):
    names = {10: "k", 2: "c", 0: "a", 1: "b", **{number: str(number) for number in range(3, 10)}}
    labels = opened("huggingface", f"model.repo={repository(processor={}, id2label=names)}").labels
    assert labels[:4] == ("a", "b", "c", "3") and labels[-1] == "k"


# Weights ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form, name", [("timm", "timm=tiny"), ("torchvision", "torchvision=tiny")])
def test_random_weights_are_the_same_each_time(packages, form, name):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = opened(form, f"model.{name}", "model.pretrained=false")
    assert torch.equal(torch.get_rng_state(), before)  # the caller's random numbers are untouched
    torch.manual_seed(2)
    assert opened(form, f"model.{name}", "model.pretrained=false").digest == one.digest


def test_random_weights_of_a_folder_are_the_same_each_time_and_not_its_own(repository, picked):
    repo = f"model.repo={repository(processor={})}"
    one, two = (opened("huggingface", repo, "model.pretrained=false") for _ in range(2))
    assert one.digest == two.digest != opened("huggingface", repo).digest


def test_a_local_file_serves_in_place_of_the_published_weights(packages, tmp_path):
    net = trained_timm()
    torch.save(net.state_dict(), tmp_path / "w.pt")
    found = opened("timm", "model.timm=tiny.a1_in3", f"model.weights={tmp_path}/w.pt")
    assert found.digest == opened("timm", "model.timm=tiny", f"model.weights={tmp_path}/w.pt").digest
    assert found.digest != opened("timm", "model.timm=tiny", "model.pretrained=false").digest
    values = found.run(torch.zeros(1, 3, 16, 16), ["head.fc"])["head.fc"]
    assert values.numpy() == pytest.approx(net.eval()(torch.zeros(1, 3, 16, 16)).detach().numpy(), abs=1e-5)


def test_a_file_in_a_form_that_timm_converts_fits(packages, tmp_path):
    state = trained_timm().state_dict()
    torch.save(state, tmp_path / "new.pt")
    torch.save({key.replace("stem", "old_stem"): value for key, value in state.items()}, tmp_path / "old.pt")
    new, old = (opened("timm", "model.timm=tiny", f"model.weights={tmp_path}/{name}.pt") for name in ("new", "old"))
    assert new.digest == old.digest


def test_the_head_of_a_file_is_kept_whatever_its_number_of_classes(packages, tmp_path):
    """timm itself replaces a head of another number of classes than its card's by a random one, without a word."""
    state = trained_timm(num_classes=7).state_dict()
    torch.save({key.replace("stem", "old_stem"): value for key, value in state.items()}, tmp_path / "w.pt")
    net = opened("timm", "model.timm=tiny", f"model.weights={tmp_path}/w.pt", "+model.build_arguments.num_classes=7")
    assert torch.equal(net.operator(net.layer("head.fc").node).weight, state["head.fc.weight"])


def test_a_file_of_another_network_is_refused_by_its_names(packages, tmp_path):
    torch.save({"stem.weight": torch.zeros(4, 3, 5, 5)}, tmp_path / "w.pt")
    said = str(refused("timm", "model.timm=tiny", f"model.weights={tmp_path}/w.pt"))
    assert "w.pt" in said and "stem.weight has shape (4, 3, 5, 5)" in said
    error = refused("torchvision", "model.torchvision=tiny", f"model.weights={tmp_path}/w.pt")
    assert isinstance(error, WeightsError) and "stem.weight" in str(error)


def test_weights_of_a_hub_are_fetched_once(hub, tmp_path):
    net = trained_timm()
    hub.files["/timm/tiny.a1_in3/resolve/main/pytorch_model.bin"] = saved(net.state_dict())
    one = opened("timm", "model.timm=tiny.a1_in3")
    two = opened("timm", "model.timm=tiny.a1_in3")
    assert hub.asked == ["/timm/tiny.a1_in3/resolve/main/pytorch_model.bin"]
    torch.save(net.state_dict(), tmp_path / "w.pt")
    assert one.digest == two.digest == opened("timm", "model.timm=tiny", f"model.weights={tmp_path}/w.pt").digest


def test_what_is_in_the_cache_needs_no_network(packages, tmp_path):
    net = trained_timm()
    cached = tmp_path / "hub" / "hub" / "timm--tiny.a1_in3" / "pytorch_model.bin"
    cached.parent.mkdir(parents=True)
    torch.save(net.state_dict(), cached)
    torch.save(net.state_dict(), tmp_path / "w.pt")
    expected = opened("timm", "model.timm=tiny", f"model.weights={tmp_path}/w.pt").digest
    assert opened("timm", "model.timm=tiny.a1_in3").digest == expected
    import huggingface_hub

    assert huggingface_hub.constants.HF_HUB_OFFLINE is False  # as it was


def torchvision_file(state: dict[str, torch.Tensor]) -> tuple[str, bytes]:
    """A name with the first eight digits of the content's SHA-256, as torchvision's files have it; and the content."""
    content = saved(state)
    return f"/tiny-{hashlib.sha256(content).hexdigest()[:8]}.pth", content


def test_weights_of_torchvision_are_fetched_and_checked(hub, tmp_path):
    import torchvision

    torch.manual_seed(4)
    state = torchvision.models.tiny().state_dict()
    path, content = torchvision_file(state)
    hub.files[path] = content
    entry = torchvision.models.Tiny_Weights.DEFAULT
    entry.value.url = path
    net = opened("torchvision", "model.torchvision=tiny")
    assert torch.equal(net.operator(net.layer("classifier").node).weight, state["classifier.weight"])
    opened("torchvision", "model.torchvision=tiny")
    assert hub.asked == [path]
    damaged = "/tiny-00000000.pth"
    hub.files[damaged], entry.value.url = content, damaged
    assert re.search(
        "tiny-00000000.pth are damaged .*; remove the file", str(refused("torchvision", "model.torchvision=tiny"))
    )


def test_fetch_fills_the_cache_and_says_where(hub, tmp_path, capsys):
    hub.files["/timm/tiny.a1_in3/resolve/main/pytorch_model.bin"] = saved(trained_timm().state_dict())
    assert fetch(compose_config("fetch", ["model=timm", "model.timm=tiny.a1_in3"])) == 0
    assert capsys.readouterr().out == f"weights: in {tmp_path}/hub/hub\n"
    assert fetch(compose_config("fetch", ["model=timm", "model.timm=tiny", "model.pretrained=false"])) == 0
    assert capsys.readouterr().out == "nothing is to be fetched\n"


def test_layers_prints_what_the_card_says(packages, capsys):
    assert layers(compose_config("layers", ["model=timm", "model.timm=tiny", "model.pretrained=false"])) == 0
    head, reads, names, *table = capsys.readouterr().out.splitlines()
    assert re.match(r"tiny@[0-9a-f]{12}  16x16 RGB  class layer: head.fc", head)
    assert "mean 127.5, 102, 76.5; gain 0.0156863" in reads and "bicubic" in reads
    assert names == "class names: 3: tench, Tinca tinca; goldfish; shark"
    assert len(table) > 3


# What is wrong ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "name", "package"),
    [
        ("timm", "timm=tiny", "timm"),
        ("torchvision", "torchvision=tiny", "torchvision"),
        ("huggingface", "repo=a/b", "transformers"),
    ],
)
def test_a_missing_package_ends_with_the_command_that_brings_it(packages, monkeypatch, form, name, package):
    monkeypatch.setitem(sys.modules, package, None)  # import raises ModuleNotFoundError
    said = str(refused(form, f"model.{name}"))
    assert f"model={form}: the package {package} is not installed; install it by" in said
    assert said.endswith(f"-m pip install 'visualization-atlas[{form}]'")


def test_every_extra_that_a_message_names_exists():
    text = (Path(__file__).parents[4] / "pyproject.toml").read_text()
    for form, package in (("timm", "timm"), ("torchvision", "torchvision"), ("huggingface", "transformers")):
        assert re.search(rf'^{form} = \["{package}>=', text, re.M)


def test_a_package_that_cannot_be_imported_says_why(packages, monkeypatch, tmp_path):
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist\\nsecond line')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "cannot be imported (RuntimeError: operator torchvision::nms does not exist)" in str(
        refused("timm", "model.timm=a")
    )


@pytest.mark.parametrize(
    ("form", "overrides", "kind", "words"),
    [
        ("timm", ["model.timm=tniy"], DefinitionError, r"timm 1.0.31 has no such network \(nearest: tiny\)"),
        ("timm", ["model.timm=tniy.a1_in3"], DefinitionError, r"no such network \(nearest: tiny.a1_in3"),
        ("timm", ["model.timm=tiny.a2"], DefinitionError, r"no such weights of tiny; .*: tiny.a1_in3, tiny.b2_own"),
        ("timm", ["model.timm=wide"], WeightsError, r"timm has no weights for it.*model.pretrained=false"),
        ("timm", ["model.timm=local-dir:/nowhere"], DefinitionError, r"/nowhere has no config.json"),
        ("timm", ["model.timm=tiny", "model.pretrained=false", "+model.build_arguments.depth=3"], DefinitionError,
         r"model.timm=tiny, depth=3: cannot be built \(TypeError: .*'depth'\); correct model.build_arguments"),
        ("timm", ["model.timm=tiny.a1_in3"], WeightsError,
         r"not in the cache, and cannot be fetched: http://127.0.0.1:9 \(.*refused\); run make fetch MODEL=timm "
         r"ARGS=model.timm=tiny.a1_in3 .*give a file by model.weights=PATH"),
        ("timm", ["model.timm=hf-hub:some/one"], WeightsError, r"cannot be fetched: http://127.0.0.1:9"),
        ("timm", [], SettingsError, r"model.timm: missing for model timm; give it by model.timm=resnet50.a1_in1k"),
        ("torchvision", [], SettingsError, r"model.torchvision: missing .* give it by model.torchvision=resnet50"),
        ("torchvision", ["model.torchvision=tin"], DefinitionError, r"0.28.0 has no such network \(nearest: tiny"),
        ("torchvision", ["model.torchvision=tiny:IMAGENET1K_V3"], DefinitionError,
         r"tiny:IMAGENET1K_V3: .*no such weights \(nearest: IMAGENET1K_V.*choose one of: IMAGENET1K_V1, IMAGENET1K_V2"),
        ("torchvision", ["model.torchvision=untrained"], WeightsError, r"has no weights for it; .*pretrained=false"),
        ("torchvision", ["model.torchvision=untrained", "model.pretrained=false"], SettingsError,
         r"its card does not state size, mean, gain; give model.size=\[224,224\] model.mean=\[…\] model.gain=\[…\]"),
        ("torchvision", ["model.torchvision=tiny_rcnn"], DefinitionError, r"a network for object detection"),
        ("torchvision", ["model.torchvision=tiny"], WeightsError,
         r"cannot be fetched: http://127.0.0.1:9/tiny-00000002.pth \(.*refused\); run make fetch MODEL=torchvision "
         r"ARGS=model.torchvision=tiny .*checkpoints, give it by model.weights=PATH"),
        ("huggingface", [], SettingsError, r"model.repo: missing .* give it by model.repo=microsoft/resnet-50"),
        ("huggingface", ["model.repo=owner/name"], WeightsError,
         r"not in the cache, and cannot be fetched: http://127.0.0.1:9 .*MODEL=huggingface ARGS=model.repo=owner/name"),
        ("huggingface", ["model.repo=./nowhere"], DefinitionError, r"model.repo=./nowhere: no such folder"),
    ],
)  # fmt: skip
def test_what_cannot_be_opened_is_named_in_one_line(packages, form, overrides, kind, words):
    error = refused(form, *overrides)
    assert isinstance(error, kind)
    assert re.search(words, str(error)), error


def test_offline_by_request_is_called_so(packages, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "(HF_HUB_OFFLINE is set)" in str(refused("timm", "model.timm=tiny.a1_in3"))


def test_a_repository_that_the_hub_lacks_is_no_matter_of_the_network(hub):
    said = str(refused("huggingface", "model.repo=owner/nmae"))
    assert "the hub has no such repository, or it asks you to log in" in said


def test_a_folder_that_is_incomplete_or_of_another_kind_is_named(repository, picked, tmp_path):
    folder = repository("complete", processor={})
    (tmp_path / "empty").mkdir()
    assert "the folder has no config.json" in str(refused("huggingface", f"model.repo={tmp_path}/empty"))
    assert "nearest: complete" in str(refused("huggingface", f"model.repo={tmp_path}/compelte"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "model.safetensors").unlink()
    assert "cannot be read" in str(refused("huggingface", f"model.repo={folder}"))
    (folder / "config.json").write_text(json.dumps({"architecture": "tiny"}))
    said = str(refused("huggingface", f"model.repo={folder}"))
    assert f"one of timm opens by MODEL=timm ARGS=model.timm=local-dir:{folder}" in said
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "text"}))
    assert "TinyTextModel reads input_ids, not images" in str(
        refused("huggingface", f"model.repo={folder}", "model.pretrained=false")
    )


def test_a_folder_that_lacks_weights_of_its_network_is_refused(repository, picked):
    from safetensors.torch import load_file, save_file

    folder = repository(processor={})
    state = load_file(folder / "model.safetensors")
    del state["classifier.weight"], state["classifier.bias"]
    save_file(state, folder / "model.safetensors")
    said = str(refused("huggingface", f"model.repo={folder}"))
    assert "its weights lack classifier.bias and 1 more of TinyForImageClassification" in said


def test_a_folder_without_an_image_processor_asks_for_what_it_would_say(repository, picked):
    repo = f"model.repo={repository(processor=None, image_size=20)}"
    assert "does not state mean, gain; give model.mean=[…] model.gain=[…]" in str(refused("huggingface", repo))
    net = opened("huggingface", repo, "model.mean=[1,2,3]", "model.gain=[1,1,1]")
    assert (net.preprocessing.height, net.preprocessing.interpolation) == (20, "bilinear")


def test_an_image_processor_that_is_no_mean_and_gain_is_refused(repository, picked):
    said = str(refused("huggingface", f"model.repo={repository(processor={'gamma': 2})}"))
    assert "TinyImageProcessor does more than scale and shift each channel" in said


def test_a_processor_that_keeps_the_image_s_size_leaves_it_to_the_user(repository, picked):
    repo = f"model.repo={repository(processor={'do_resize': False})}"
    assert "does not state size; give model.size=[224,224]" in str(refused("huggingface", repo))
    assert opened("huggingface", repo, "model.size=[24,24]").preprocessing.height == 24


@pytest.mark.parametrize(
    "form, name", [("timm", "timm=tiny"), ("torchvision", "torchvision=tiny"), ("torch", "build=a:b")]
)
def test_the_user_chooses_the_result_of_a_module(packages, monkeypatch, form, name):
    class Asked(Exception):
        pass

    def asking(*given: object) -> Network:
        raise Asked(given[-1])

    monkeypatch.setattr(opening, "torch_network", asking)
    monkeypatch.setattr(opening, "_imported", lambda *_: nn.Identity)
    pretrained = [] if form == "torch" else ["model.pretrained=false"]
    with pytest.raises(Asked, match="^logits$"):
        opened(form, f"model.{name}", *pretrained, "model.output=logits")
    with pytest.raises(Asked, match="^None$"):
        opened(form, f"model.{name}", *pretrained)


def test_a_processor_that_is_not_in_the_cache_is_not_taken_for_missing(repository, picked, tmp_path):
    """The weights of a repository may be cached without its image processor."""
    folder = repository(processor={})
    cached = tmp_path / "hub" / "hub" / "owner--net"
    cached.parent.mkdir(parents=True)
    folder.rename(cached)
    assert opened("huggingface", "model.repo=owner/net").name == "owner_net"
    (cached / "preprocessor_config.json").unlink()
    assert "its files are not in the cache, and cannot be fetched" in str(
        refused("huggingface", "model.repo=owner/net")
    )


def test_progress_bars_come_back(repository, picked):
    import transformers

    opened("huggingface", f"model.repo={repository(processor={})}")
    assert transformers.utils.logging.is_progress_bar_enabled()
