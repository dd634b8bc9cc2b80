"""Training a prior: it learns, resumes after it was killed, balances its two sides, and refuses invalid input."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.data.training_images import Pictures
from pipeline.errors import DataError, OutputError, SettingsError, TrainingError
from pipeline.nets.network import GraphBuilder, Network
from pipeline.nets.operators import InnerProduct, Relu
from pipeline.nets.preprocessing import Preprocessing
from pipeline.nets.sliding import Convolution
from pipeline.priors.generator import Generator
from pipeline.priors.prior import Prior, read_prior
from pipeline.training.priors.adversarial import GeneratorTraining
from pipeline.training.priors.comparator import Comparator, centre, code_statistics, real_images, shifted
from pipeline.training.priors.discriminator import Balance, build_discriminator
from pipeline.training.priors.evaluation import reconstruct
from pipeline.training.priors.losses import half_squares, join_gradients, realness_loss, relative_error
from pipeline.training.priors.process_group import ALONE
from pipeline.training.priors.recipe import PriorRecipe
from pipeline.training.priors.report import recipe_numbers
from pipeline.training.priors.training import PriorRequest, check_request, generator_shape, train_prior

RECIPE = PriorRecipe(
    preset="small", loss="relative", seed=0, steps=12, batch=4, hidden=16, grid_channels=16, least_channels=8,
    twice_up_to=8, slope=0.2, even=False, notch=True, comparator=("conv", "fc"), image_weight=5.0, feature_weight=1.0,
    shared_weight=2.0, adversarial_weight=0.5, adversarial_cap=3.0, adversary_from=0.25, adversary_alone=2, shift=3,
    shift_share=0.5, discriminator="patch", discriminator_channels=4, discriminator_noise=0.1, skip_below=0.3,
    resume_above=0.4,
    rate=1e-3, rate_with_adversary=5e-4, discriminator_rate=4e-4, beta1=0.5, discriminator_decay=0.0, average=0.9,
    precision="fp32", threads=1, checkpoint_every=4, show_every=6,
)  # fmt: skip
SIDE = 40


class Killed(BaseException):
    """Stands for a signal that ends the process."""


def network() -> Network:
    """A convolution, a ReLU and an inner product over images of SIDE pixels, random weights."""
    random = np.random.RandomState(0)
    build = GraphBuilder(Preprocessing(SIDE, SIDE, "RGB", np.full(3, 120.0), np.full(3, 1 / 64)))
    filters = torch.from_numpy(random.normal(0, 0.3, (6, 3, 5, 5)).astype(np.float32))
    at = build.add("conv", Convolution(filters, torch.zeros(6), (2, 2), (2, 2)), [build.input], "conv")
    at = build.add("relu", Relu(), [at], "relu")
    weights = torch.from_numpy(random.normal(0, 0.05, (8, 6 * (SIDE // 2) ** 2)).astype(np.float32))
    at = build.add("fc", InnerProduct(weights, torch.zeros(8)), [at], "fc")
    return build.build("tiny", at, class_layer="fc")


def pictures(count: int = 24, fields: int = 4) -> Pictures:
    """Pictures of fields × fields random colours."""
    random = np.random.RandomState(1)
    coarse = random.randint(0, 256, (count, fields, fields, 3)).astype(np.uint8)
    stored = coarse.repeat(SIDE // fields, axis=1).repeat(SIDE // fields, axis=2)
    return Pictures(stored, np.arange(count), np.zeros(count, np.int64), "digest", ("thing",))


def test_a_recipe_is_said_in_words():
    said = dict(recipe_numbers(replace(RECIPE, hidden=None)))
    assert (said["even"], said["notch"], said["hidden"]) == ("no", "yes", "as the code")
    assert (said["rate"], said["comparator"], said["steps"]) == ("0.001", "conv, fc", "12")


def train(
    out: Path,
    recipe: PriorRecipe = RECIPE,
    log=lambda line: None,
    metrics=lambda step, measured: None,
    data: Pictures | None = None,
    begin: Prior | None = None,
    until: int | None = None,
):
    request = PriorRequest("tiny_fc", "fc", recipe, "free", 16, 8, begin, recipe.steps if until is None else until)
    kept, held_out = (pictures() if data is None else data).split(8, 0)
    return train_prior(request, network(), kept, held_out, out, log=log, metrics=metrics, snapshot=lambda *images: None)


def weights(folder: Path) -> bytes:
    return (folder / "tiny_fc" / "generator.safetensors").read_bytes()


def test_a_killed_training_resumes_to_the_same_weights(tmp_path):
    train(tmp_path / "whole")

    def die(step: int, measured: dict[str, float]) -> None:
        if step == 6:  # its checkpoint is that of step 4
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path / "killed", metrics=die)
    said: list[str] = []
    train(tmp_path / "killed", log=said.append)
    assert "going on from step 4" in said
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    for name in ("prior.json", "statistics.safetensors"):
        assert (tmp_path / "killed/tiny_fc" / name).read_bytes() == (tmp_path / "whole/tiny_fc" / name).read_bytes()


def test_doublings_are_even_as_stored(tmp_path):
    generator = train(tmp_path, replace(RECIPE, even=True)).prior.generator
    assert isinstance(generator, Generator)
    for doubling in generator.ups:
        kernels = doubling.weight.unflatten(0, (-1, 4))
        assert torch.equal(kernels, kernels[:, :1].expand_as(kernels))
    last, alternating = generator.last.weight.detach(), (-1.0) ** torch.arange(5)
    assert float((last @ alternating).abs().max()) < 1e-3  # 16 bits are stored
    assert float((alternating @ last).abs().max()) < 1e-3


@pytest.mark.parametrize("loss", ["relative", "published"])
def test_it_learns_to_reconstruct_images(tmp_path, loss):
    more = {"steps": 150, "rate": 4e-3, "rate_with_adversary": 3e-3, "adversary_from": 0.8, "show_every": 50}
    if loss == "published":
        more |= {"loss": loss, "image_weight": 2e-4, "feature_weight": 1e-3, "adversarial_weight": 1e-2,
                 "discriminator": "published"}  # fmt: skip
    trained = train(tmp_path, replace(RECIPE, **more), data=pictures(96, fields=1))
    assert trained.errors["mean image"].shared < 1e-3 < trained.errors["reconstruction"].shared
    assert trained.errors["reconstruction"].pixel < trained.errors["mean image"].pixel
    assert trained.errors["reconstruction"].code < 0.8 * trained.errors["mean image"].code


def test_the_gradient_of_the_shared_error_is_its_derivative():
    """In float64: the derivative of shared_weight · mean(m²) by the images; m is the running mean of their error."""
    net, data = network(), pictures()
    comparator = Comparator(net, RECIPE.comparator)
    statistics = code_statistics(Comparator(net, ["fc"]), comparator, data, 24, 0, torch.device("cpu"))
    generator = Generator(generator_shape(RECIPE, net, "fc", statistics.scale))
    training = GeneratorTraining(RECIPE, generator, Comparator(net, ["fc"]), comparator, statistics, data, ALONE)
    errors = torch.randn(3, 4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    mean = torch.zeros(3, SIDE, SIDE, dtype=torch.float64)
    for step, error in enumerate(errors):
        gradient = training._shared_gradient(error, step)
        keep = (1 + step) / (10 + step)
        mean = keep * mean + (1 - keep) * error.double().mean(0)
        images = error.double().requires_grad_()
        share = mean + (images - images.detach()).mean(0)  # the contribution of each image to the mean
        (expected,) = torch.autograd.grad(RECIPE.shared_weight * share.square().mean(), images)
        torch.testing.assert_close(gradient.double(), expected, rtol=1e-5, atol=1e-10)
    torch.testing.assert_close(training.state()["shared"].double(), mean, rtol=1e-5, atol=1e-7)


def test_its_weight_removes_marks(tmp_path):
    """Only features are compared here, so no other loss acts against marks."""
    more = {"steps": 200, "rate": 4e-3, "rate_with_adversary": 3e-3, "adversarial_weight": 0.0, "image_weight": 0.0}
    learned, _ = pictures(96).split(8, 0)
    images, shared = real_images(learned, slice(None)), []
    for weight in (0.0, 20.0):
        recipe = replace(RECIPE, **more, show_every=100, shared_weight=weight)
        generator = train(tmp_path / str(weight), recipe, data=pictures(96)).prior.generator
        made = centre(reconstruct(generator, Comparator(network(), ["fc"]), images), (SIDE, SIDE))
        shared.append(float((made - images).mean(0).square().mean()))
    assert shared[1] < shared[0] / 2


def test_a_training_begins_with_a_prior(tmp_path):
    first = train(tmp_path / "first").prior
    none = replace(RECIPE, steps=0)
    again = train(tmp_path / "again", none, begin=first)
    for name, value in first.generator.state_dict().items():
        torch.testing.assert_close(again.prior.generator.state_dict()[name], value, rtol=0, atol=0)
    assert again.prior.trained_on["begin"] == {"name": "tiny_fc", "digest": first.digest}
    assert f"begins with tiny_fc (`{first.digest[:12]}`)" in again.prior.card
    with pytest.raises(SettingsError, match="begin tiny_fc: its generator has hidden 16, this recipe asks for 12"):
        train(tmp_path / "other", replace(none, hidden=12), begin=first)
    train(tmp_path / "more", begin=first)
    with pytest.raises(OutputError, match="other settings"):
        train(tmp_path / "more")


def test_the_folder_is_the_prior(tmp_path):
    trained = train(tmp_path)
    prior = read_prior(tmp_path / "tiny_fc")
    assert prior.digest == trained.prior.digest
    assert (prior.network_digest, prior.code_layer, prior.code_shape) == (network().digest, "fc", (8,))
    assert (prior.height, prior.width, prior.order) == (SIDE, SIDE, "RGB")
    code = torch.rand(2, 8)
    torch.testing.assert_close(prior.levels(code), (prior.generator(code) + 1) * 127.5)
    assert prior.trained_on["recipe"]["steps"] == RECIPE.steps


def test_statistics_are_those_of_the_codes():
    net, data = network(), pictures()
    statistics = code_statistics(Comparator(net, ["fc"]), Comparator(net, ["conv"]), data, 24, 0, torch.device("cpu"))
    centred = torch.from_numpy(net.preprocessing.centred(data.stored))
    code = net.run(centred, ["fc"])["fc"].clamp(min=0).double().numpy()
    np.testing.assert_allclose(statistics.mean, code.mean(0), rtol=1e-5)
    np.testing.assert_allclose(statistics.deviation, code.std(0), rtol=1e-4)
    np.testing.assert_allclose(statistics.scale, np.sqrt(np.square(code).mean()), rtol=1e-5)
    values = net.run(centred, ["conv"])["conv"].clamp(min=0).double()
    np.testing.assert_allclose(statistics.energies, [float(values.square().mean())], rtol=1e-5)


def test_losses_agree_with_their_formulas():
    one, other = torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.tensor([[0.0, 2.0], [3.0, 1.0]])
    assert float(half_squares(one, other)) == pytest.approx(17 / 4)
    assert float(relative_error(one, other, 2.0)) == pytest.approx(17 / 4 / 2)
    logits = torch.tensor([[[0.0]]]), torch.tensor([2.0])
    assert float(realness_loss(logits, True)) == pytest.approx((np.log(2) + np.log1p(np.exp(-2))) / 2)
    assert float(realness_loss(logits, False)) == pytest.approx((np.log(2) + np.log1p(np.exp(2))) / 2)


def test_the_factor_of_the_adversary_is_limited():
    rest, adversarial = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 0.1])
    joined, weight, ratio = join_gradients(RECIPE, rest, adversarial, None)
    assert (weight, ratio) == pytest.approx((25.0, 50.0))
    assert float((joined - rest).norm()) == pytest.approx(2.5)  # half of the other losses' gradient
    _, capped, _ = join_gradients(RECIPE, rest, adversarial, 10.0)
    assert capped == pytest.approx(0.5 * 30)
    published = replace(RECIPE, loss="published", adversarial_weight=7.0)
    joined, weight, _ = join_gradients(published, rest, adversarial, None)
    torch.testing.assert_close(joined, rest + 7 * adversarial)


def test_the_discriminator_stops_learning_below_one_ratio_and_resumes_above_another():
    balance = Balance(0.1, 0.5)
    seen = []
    for loss in (1.0, 0.05, 0.3, 0.6, 0.3):
        balance.update(loss, 1.0)
        seen.append(balance.learns)
    assert seen == [True, False, False, True, True]


@pytest.mark.parametrize(("kind", "size"), [("patch", 32), ("patch", 96), ("published", 35), ("published", 96)])
def test_discriminators_depend_on_image_and_code(kind, size):
    torch.manual_seed(0)
    judge = build_discriminator(kind, 8, channels=4, size=size, scale=1.0).eval()
    image, code = torch.randn(3, 3, size, size), torch.rand(3, 8)
    whole = judge(image, code)[1]
    assert whole.shape == (3,)
    assert not torch.allclose(whole, judge(image.flip(0), code)[1])
    assert not torch.allclose(whole, judge(image, code.flip(0))[1])


def test_the_published_discriminator_refuses_small_images():
    with pytest.raises(SettingsError, match=r"at least 35 pixels.*patch"):
        build_discriminator("published", 8, channels=4, size=34, scale=1.0)


def test_images_are_shifted_alike_and_edges_repeat():
    image = torch.arange(2 * 1 * 6 * 5, dtype=torch.float32).reshape(2, 1, 6, 5)
    one, other = shifted([image, 2 * image], 2, torch.Generator().manual_seed(3))
    torch.testing.assert_close(other, 2 * one)
    assert one.shape == image.shape
    data = set(image.flatten().tolist())
    assert set(one.flatten().tolist()) <= data
    assert torch.equal(centre(image, (2, 3)), image[..., 2:4, 1:4])


def _with(change: dict, **recipe: object) -> GeneratorTraining:
    net, data, changed = network(), pictures(), replace(RECIPE, **recipe)
    encoder = Comparator(net, ["fc"])
    statistics = code_statistics(encoder, encoder, data, 24, 0, torch.device("cpu"))
    changed = replace(changed, comparator=("fc",))
    torch.manual_seed(0)
    generator = Generator(generator_shape(changed, net, "fc", statistics.scale))
    training = GeneratorTraining(changed, generator, encoder, encoder, statistics, data, ALONE)
    for name, value in change.items():
        setattr(training, name, value)
    return training


def test_a_network_of_grey_images_has_no_prior():
    build = GraphBuilder(Preprocessing(SIDE, SIDE, "L", np.zeros(1), np.ones(1)))
    filters = torch.ones(2, 1, SIDE, SIDE)
    at = build.add("conv", Convolution(filters, torch.zeros(2), (1, 1), (0, 0)), [build.input], "conv")
    with pytest.raises(SettingsError, match="reads L images; priors are made for colour"):
        check_request(RECIPE, build.build("grey", at, class_layer="conv"), "conv")


def test_a_side_that_keeps_winning_ends_the_training():
    training = _with({"waited": 199}, skip_below=10.0, resume_above=100.0, adversary_from=0.0, adversary_alone=0)
    with pytest.raises(TrainingError, match=r"discriminator has won.*skip_below"):
        training.step(0)
    training = _with({"guessed": 199}, adversary_from=0.0, adversary_alone=0)
    with torch.no_grad():
        for value in training.discriminator.parameters():
            value.zero_()  # its logits are 0: it guesses
    with pytest.raises(TrainingError, match=r"generator has won.*adversarial_weight"):
        training.step(0)


def test_the_last_checkpoint_of_a_failed_training_becomes_a_prior(tmp_path, monkeypatch):
    whole = train(tmp_path / "whole")
    assert "until" not in whole.prior.trained_on
    take_step = GeneratorTraining.step

    def ends(self, step):
        if step == 10:
            raise TrainingError("a side has won; begin again")
        return take_step(self, step)

    monkeypatch.setattr(GeneratorTraining, "step", ends)
    with pytest.raises(TrainingError, match="begin again; or make a prior of what was learned before, by until=8$"):
        train(tmp_path / "ended")
    rescued = train(tmp_path / "ended", until=8)
    straight = train(tmp_path / "straight", until=8)
    assert rescued.prior.digest == straight.prior.digest != whole.prior.digest
    assert rescued.prior.trained_on["until"] == 8
    assert "| Steps | 8 of 12, each of 4 images |" in rescued.prior.card
    monkeypatch.undo()
    assert train(tmp_path / "ended").prior.digest == whole.prior.digest  # and it can be trained to the end
    with pytest.raises(SettingsError, match="until: got 8, but .* is of step 12"):
        train(tmp_path / "ended", until=8)


def test_losses_that_are_not_finite_end_the_training_and_the_checkpoint_stays(tmp_path):
    with pytest.raises(TrainingError, match=r"no longer numbers.*recipe.rate") as caught:
        train(tmp_path, replace(RECIPE, rate=1e30, rate_with_adversary=1e30, checkpoint_every=1))
    assert (tmp_path / "training.checkpoint").is_file()
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    train(tmp_path)
    with pytest.raises(OutputError, match="checkpoint of other settings"):
        train(tmp_path, replace(RECIPE, image_weight=6.0))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preset": "smal"}, "one of small, published"),
        ({"steps": -1}, "0 or more"),
        ({"average": 1.5}, "share of 1"),
        ({"comparator": ()}, "at least one"),
        ({"rate": -1.0}, "0 or more"),
        ({"precision": "fp8"}, "fp32, bf16"),
    ],
)
def test_invalid_recipes_are_refused(changes, said):
    with pytest.raises(SettingsError, match=said):
        replace(RECIPE, **changes)


def test_held_out_pictures_are_not_trained_on():
    kept, held_out = pictures().split(8, 3)
    assert sorted([*kept.rows, *held_out.rows]) == list(range(24))
    assert len(held_out) == 8
    with pytest.raises(DataError, match="hold out fewer"):
        pictures().split(24, 0)


def test_the_rate_falls_until_the_adversary_begins_and_then_to_zero():
    rates = [RECIPE.rate_at(step) for step in range(13)]
    assert rates[0] == RECIPE.rate
    assert rates[3] == RECIPE.rate_with_adversary
    assert rates[12] == 0
    assert all(after < before for before, after in zip(rates, rates[1:], strict=False))


def test_metrics_of_a_killed_run_are_overwritten(tmp_path):
    from atlas_viewer.training_log import write_metrics

    for step in (1, 2, 3, 2):
        write_metrics(tmp_path / "metrics.jsonl", step, {"image": step / 3})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
