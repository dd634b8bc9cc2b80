from __future__ import annotations

import sys
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parent / "packages"
NAMES = ("timm", "torchvision", "transformers", "huggingface_hub")


@pytest.fixture
def packages(monkeypatch, tmp_path):
    """Tiny packages in place of the publishers', with empty caches; the hub's address answers nothing."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] in NAMES]:
            del sys.modules[name]

    forget()
    monkeypatch.syspath_prepend(str(PACKAGES))
    for name in ("HF_HUB_OFFLINE", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("TINY_HUB", "http://127.0.0.1:9")
    yield PACKAGES
    forget()
