"""Training the networks for drawings that the project ships."""

from __future__ import annotations

from pathlib import Path

from pipeline.training.classifier import ClassifierSettings, Metrics, train_classifier


def train(settings: ClassifierSettings, out: Path, *, cache: Path | None = None) -> Metrics:
    """Train a network into `out`, saying on the way how it goes; the same call resumes what was stopped."""
    return train_classifier(settings, out, lambda line: print(line, flush=True), cache=cache)
