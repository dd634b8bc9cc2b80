"""`make prior`: with one and two processes, resumed after a kill, shown on a page, refused with one line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from jobs import photos, prior, prior_training
from jobs.console import compose_config, run_job
from jobs.processes import Member
from pipeline.errors import AtlasError, TrainingError
from pipeline.priors.prior import read_prior
from pipeline.training.schedule import epoch_rows

SMALL = (
    "model=torch", "model.name=tiny", "model.build=tiny_network:tiny", "model.size=[16,16]", "layer=fc",
    "dataset=folder", "device=cpu", "held_out=12", "facts_images=40", "recipe.steps=8", "recipe.batch=4",
    "recipe.comparator=[conv2,fc]", "recipe.threads=1", "recipe.precision=fp32", "recipe.checkpoint_every=4",
    "recipe.show_every=4", "recipes.small.grid_channels=8", "recipes.small.least_channels=4", "recipes.small.shift=2",
    "recipes.small.discriminator_channels=4", "recipes.small.adversary_alone=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """Forty pictures of 16 × 16 pixels."""
    folder = tmp_path_factory.mktemp("images") / "pictures"
    folder.mkdir()
    random = np.random.RandomState(0)
    for number in range(40):
        coarse = random.randint(0, 256, (2, 2, 3)).astype(np.uint8)
        Image.fromarray(coarse.repeat(8, 0).repeat(8, 1)).save(folder / f"{number:02d}.png")
    return folder


def train(out: Path, images: Path, *overrides: str) -> int:
    return prior.prior(compose_config("prior", [*SMALL, f'dataset.root="{images}"', f'out="{out}"', *overrides]))


def refusal(capsys, out: Path, images: Path, *overrides: str, job=prior.prior, config: str = "prior") -> str:
    """The one line that a command ends with."""
    given = [*SMALL, f'dataset.root="{images}"'] if config == "prior" else []
    with pytest.raises(SystemExit) as ended:
        run_job(job, config, "", [*given, f'out="{out}"', *overrides])
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (2, 1), said
    return said


# One process -----------------------------------------------------------------------------------------


def test_a_command_leaves_a_prior_its_card_and_its_page(tmp_path, images, capsys):
    assert train(tmp_path, images) == 0
    trained = read_prior(tmp_path / "tiny_fc")
    assert (trained.network, trained.code_layer, trained.trained_on["count"]) == ("tiny", "fc", 28)
    assert "| reconstruction |" in trained.card
    assert "| `steps` | 8 |" in trained.card
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 4, 8]
    page = (tmp_path / "index.html").read_text()
    assert "Finished, 8 steps" in page
    assert "blurred image" in page
    for address in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert address.startswith("data:") or (tmp_path / address).is_file(), address
    assert f"use it by priors=[{tmp_path}/tiny_fc]" in capsys.readouterr().out


def test_zero_steps_give_an_untrained_prior(tmp_path, images):
    assert train(tmp_path, images, "recipe.steps=0") == 0
    assert "| `steps` | 0 |" in read_prior(tmp_path / "tiny_fc").card
    page = (tmp_path / "index.html").read_text()
    assert "0 steps" in page
    assert "blurred image" in page


def test_the_same_command_resumes_and_other_settings_are_refused(tmp_path, images, capsys):
    train(tmp_path, images)
    before = (tmp_path / "tiny_fc" / "generator.safetensors").read_bytes()
    capsys.readouterr()
    train(tmp_path, images)
    assert "going on from step 8" in capsys.readouterr().out
    assert (tmp_path / "tiny_fc" / "generator.safetensors").read_bytes() == before
    assert "checkpoint of other settings" in refusal(capsys, tmp_path, images, "recipe.seed=1")


def test_a_training_killed_at_any_moment_resumes_to_the_same_weights(tmp_path, images, capsys):
    steps = ("recipe.steps=200", "recipe.checkpoint_every=10", "recipe.show_every=200")
    train(tmp_path / "whole", images, *steps)
    killed = tmp_path / "killed"
    overrides = [*SMALL, *steps, f'dataset.root="{images}"', f'out="{killed}"']
    process = subprocess.Popen(
        [sys.executable, "-m", "jobs.prior", *overrides],
        cwd=Path(prior.__file__).parents[1],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},  # tiny_network
        stdout=subprocess.DEVNULL,
    )
    while not (killed / "training.checkpoint").exists():
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.005)
    process.kill()  # SIGKILL
    assert process.wait() == -9
    assert not (killed / "tiny_fc").exists()
    capsys.readouterr()
    train(killed, images, *steps)
    assert 10 <= int(re.search(r"going on from step (\d+)", capsys.readouterr().out)[1]) < 200
    whole, again = ((tmp_path / name / "tiny_fc" / "generator.safetensors") for name in ("whole", "killed"))
    assert whole.read_bytes() == again.read_bytes()


# Two processes ---------------------------------------------------------------------------------------


def take_part(member: Member, job: prior_training.PriorJob) -> dict[str, torch.Tensor]:
    """Train, and write the generator's weights and the rows of this process's images into a file."""
    from pipeline.training.priors import adversarial

    seen, kept = [], {}
    images, learn = adversarial.GeneratorTraining._images, adversarial.GeneratorTraining.step

    def note_images(self, step, generator):
        share = self.recipe.batch
        rows = epoch_rows(step, seed=self.recipe.seed, count=len(self.train), batch=share * self.group.size)
        batch = images(self, step, generator)
        seen.append(_rows(self.train, batch, rows))
        return batch

    def note_weights(self, step):
        measured = learn(self, step)
        kept.update({name: value.clone() for name, value in self.generator.state_dict().items()})
        return measured

    adversarial.GeneratorTraining._images, adversarial.GeneratorTraining.step = note_images, note_weights
    try:
        prior_training.train_member(member, job)
    finally:
        adversarial.GeneratorTraining._images, adversarial.GeneratorTraining.step = images, learn
    torch.save({"weights": kept, "seen": seen}, job.out / f"process-{member.rank}.pt")
    return kept


def _rows(pictures, images: torch.Tensor, rows: np.ndarray) -> list[int]:
    """The rows of a process's images among those of a step, by their pixels, mirrored or not."""
    candidates = torch.from_numpy(pictures.pixels(rows)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return [
        int(rows[at])
        for image in images
        for at in range(len(rows))
        if torch.allclose(image, candidates[at]) or torch.allclose(image, candidates[at].flip(2))
    ]


def test_two_processes_take_the_same_steps_with_different_pictures(tmp_path, images, monkeypatch):
    monkeypatch.setattr(prior, "train_member", take_part)
    train(tmp_path, images, "cluster=local", "processes=2")
    one, other = (torch.load(tmp_path / f"process-{rank}.pt") for rank in range(2))
    assert one["weights"].keys() == other["weights"].keys()
    for name, value in one["weights"].items():
        assert bool(value.isfinite().all()), name
        assert torch.equal(value, other["weights"][name]), name
    assert len(one["seen"]) == 8
    for mine, theirs in zip(one["seen"], other["seen"], strict=True):
        assert (len(mine), len(theirs)) == (4, 4)
        assert not set(mine) & set(theirs)
    trained = read_prior(tmp_path / "tiny_fc")
    assert "8 of 8 images" in trained.card
    assert "2 CPU processes" in (tmp_path / "index.html").read_text()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3
    assert not torch.distributed.is_initialized()


def stop_at_six(member: Member, job: prior_training.PriorJob) -> None:
    """Both processes fail after the checkpoint of step 4."""
    from pipeline.training.priors import adversarial

    learn = adversarial.GeneratorTraining.step

    def fail(self, step):
        if step == 6:
            raise TrainingError("stopped for a test")
        return learn(self, step)

    adversarial.GeneratorTraining.step = fail
    try:
        prior_training.train_member(member, job)
    finally:
        adversarial.GeneratorTraining.step = learn


def test_two_processes_resume_to_the_same_weights(tmp_path, images, monkeypatch, capsys):
    train(tmp_path / "whole", images, "cluster=local", "processes=2")
    with monkeypatch.context() as patched:
        patched.setattr(prior, "train_member", stop_at_six)
        with pytest.raises(TrainingError, match="stopped for a test"):
            train(tmp_path / "killed", images, "cluster=local", "processes=2")
    assert not torch.distributed.is_initialized()
    capsys.readouterr()
    train(tmp_path / "killed", images, "cluster=local", "processes=2")
    assert "going on from step 4" in capsys.readouterr().out
    whole, again = (load_file(tmp_path / name / "tiny_fc" / "generator.safetensors") for name in ("whole", "killed"))
    for name, value in whole.items():
        assert torch.equal(value, again[name]), name


# Refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("layer=fcc", r"layer fcc: not in network tiny \(nearest: fc"),
        ("recipe.comparator=[conv2,cnov1]", r"recipe.comparator: layer cnov1: not in network tiny \(nearest: conv1"),
        ("recipe.comparator=[]", "expected at least one"),
        ("until=9", "until: got 9, expected 0 to 8, the recipe's steps"),
        ("held_out=40", "held_out: got 40, but pictures has 40 images; hold out fewer"),
        ("held_out=3", "held_out: got 3, expected 12 or more"),
        ("facts_images=1", "facts_images: got 1, expected 2 or more"),
        ("recipe.batch=30", "recipe.batch: got 30, expected 28 images at most"),
        ("recipe.steps=many", "recipe.steps: got 'many', expected a whole number"),
        ("recipes.small.discriminator=published", "at least 35 pixels, these have 16; use discriminator=patch"),
        ("preset=smal", "nearest: small"),
        ("name=a/b", "name: got 'a/b', expected letters"),
        ("begin=tinynet_fc7", r"begin: got tinynet_fc7, no folder and no prior of the project \(nearest: tinynet_fc6"),
        ("begin=tinynet_fc6", r"begin tinynet_fc6: it inverts fc6 of tinynet \(.*\), not fc of tiny \("),
        ("device=cdua", "nearest: cuda"),
        ("processes=2", "cluster=serial is one process; use cluster=local"),
        ("processes=some", "processes: got 'some', expected a whole number"),
    ],
)
def test_an_invalid_request_is_refused_before_anything_is_written(tmp_path, images, capsys, override, said):
    assert re.search(said, refusal(capsys, tmp_path / "out", images, override))
    assert not (tmp_path / "out" / "training.checkpoint").exists()
    assert not (tmp_path / "out" / "tiny_fc").exists()


def test_a_prior_needs_images(tmp_path, capsys):
    with pytest.raises(AtlasError, match="dataset: got none, expected images to train on"):
        prior.prior(compose_config("prior", ["dataset=none", f'out="{tmp_path}"']))


def test_a_damaged_checkpoint_is_refused(tmp_path, images, capsys):
    (tmp_path / "training.checkpoint").write_bytes(b"not a checkpoint")
    said = refusal(capsys, tmp_path, images)
    assert "cannot be read as a checkpoint" in said
    assert "remove it to start anew" in said


@pytest.mark.parametrize(("job", "config"), [(prior.prior, "prior"), (photos.photos, "photos")])
def test_a_folder_that_cannot_be_written_is_refused(tmp_path, images, capsys, job, config):
    (tmp_path / "file").write_text("in the way")
    more = () if config == "prior" else ("dataset=folder", f'dataset.root="{images}"', f'held_out="{images}"')
    said = refusal(capsys, tmp_path / "file" / "out", images, *more, job=job, config=config)
    assert "cannot be written" in said


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("dataset=none", "held_out=x"), "dataset: got none, expected photos to train on"),
        (("dataset=folder", "dataset.root=IMAGES"), "held_out: missing"),
        (("dataset=folder", "dataset.root=IMAGES", "held_out=NOWHERE"), "NOWHERE: "),
        (
            ("dataset=folder", "dataset.root=CATS", "held_out=DOGS"),
            "its classes differ from those of the photos",
        ),
        (("dataset=doodles", "held_out=x"), "doodles are drawn"),
        (("network=tinynte", "held_out=x"), "nearest: tinynet"),
        (("dataset=folder", "dataset.root=IMAGES", "held_out=IMAGES", "recipe.epochs=many"), "expected a whole number"),
        (("dataset=folder", "dataset.root=IMAGES", "held_out=IMAGES", "recipe.rate=-1"), "rate: got -1"),
    ],
)
def test_an_invalid_training_on_photos_is_refused(tmp_path, images, capsys, overrides, said):
    for one, kind in (("cats", "cat"), ("dogs", "dog")):
        (tmp_path / one / kind).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / one / kind / "0.png")
        (tmp_path / one / "more").mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / one / "more" / "0.png")
    places = {"IMAGES": images, "CATS": tmp_path / "cats", "DOGS": tmp_path / "dogs"}
    given = [re.sub("|".join(places), lambda found: f'"{places[found[0]]}"', override) for override in overrides]
    assert said in refusal(capsys, tmp_path / "out", images, *given, job=photos.photos, config="photos")
    assert not (tmp_path / "out" / "tinynet.checkpoint").exists()
