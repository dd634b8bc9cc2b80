"""Files that are not what their name says are called what they are."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from pipeline.errors import AtlasError, DefinitionError, SettingsError, WeightsError
from pipeline.nets.caffe import read_definition, read_mean, read_weights
from pipeline.nets.file_kind import refuse_foreign, refuse_page
from pipeline.nets.open_network import read_labels
from pipeline.nets.torch_modules import read_state

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22e\nsize 1234\n"
DENIED = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message><RequestId>1</RequestId></Error>"

PAGES = {  # what no setting asks for → the words for it
    "<!DOCTYPE html><html><head><title>Sign in &amp; up</title></head></html>": r'a web page \("Sign in & up"\), not',
    "\ufeff\n <HTML><body><script>x()</script>Not\nFound</body></HTML>": r'a web page \("Not Found"\), not the file',
    '<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C"><html><title>X</title></html>': r'a web page \("X"\)',
    "<!-- saved --><html></html>": r"a web page, not the file; download the file itself, not the page about it",
    f'<?xml version="1.0" encoding="UTF-8"?>\n{DENIED}': r'server in XML \("AccessDenied: Access Denied"\), not',
    DENIED: r'server in XML \("AccessDenied: Access Denied"\), not the file; download the file itself',
    POINTER: r"a Git LFS pointer to a file of 1234 bytes, not the file; run `git lfs pull` in its repository",
    POINTER.replace("\n", "\r\n"): r"a Git LFS pointer to a file of 1234 bytes",
    "/annex/objects/SHA256E-s1234--4d7a21.pt\n": r"a git-annex pointer, not the file; run `git annex get`",
}


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("net.pth"))
    return buffer.getvalue()


OTHERS = {
    b"": r"is empty \(0 bytes\); fetch the file again",
    b"\0" * 5000: "is filled with zero bytes; fetch the file again",
    b'{"error": {"message": "quota exceeded", "code": 403}}': r'is a JSON text \("quota exceeded"\)',
    b'{"detail": "Not found."}': r'is a JSON text \("Not found."\)',
    b'{"architectures": ["ResNet"], "depths": [3, 4]}': r"is a JSON text \(",
    b"[1, 2": r'is a JSON text \("\[1, 2"\)',
    b"Entry not found\n": r'is a text \("Entry not found"\); download the file itself',
    "Zu viele Anfragen für heute ".encode() * 20: r'is a text \("Zu viele Anfragen für heute .*…"\)',
    gzip.compress(b"x"): r"is a gzip archive; unpack it \(gunzip\) and give the file inside",
    bz2.compress(b"x"): "is a bzip2 archive",
    lzma.compress(b"x"): "is a xz archive",
    tarred(): r"is a tar archive; unpack it \(tar -xf\)",
    b"%PDF-1.5 ...": "is a PDF document",
    b"\x89PNG\r\n\x1a\n": "is a PNG image",
}

READERS = {
    "weights of torch": (read_state, "w.pt", WeightsError),
    "safetensors": (read_state, "w.safetensors", WeightsError),
    "weights of Caffe": (read_weights, "w.caffemodel", WeightsError),
    "Caffe's safetensors": (read_weights, "w.safetensors", WeightsError),
    "mean": (read_mean, "mean.binaryproto", WeightsError),
    "mean of numpy": (read_mean, "mean.npy", WeightsError),
    "definition": (read_definition, "net.prototxt", DefinitionError),
    "labels": (lambda path: read_labels(str(path), path), "labels.txt", SettingsError),
}


def message(read, path: Path, error: type[AtlasError]) -> str:
    with pytest.raises(error) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("content", PAGES, ids=range(len(PAGES)))
def test_a_page_in_place_of_any_file_is_called_a_page(content, reader, tmp_path):
    read, name, error = READERS[reader]
    (tmp_path / name).write_bytes(content.encode())
    assert re.search(f": is (the answer of a )?{PAGES[content]}", message(read, tmp_path / name, error))


@pytest.mark.parametrize("reader", [name for name in READERS if name not in ("definition", "labels")])
@pytest.mark.parametrize("content", OTHERS, ids=range(len(OTHERS)))
def test_a_text_or_archive_in_place_of_numbers_is_called_so(content, reader, tmp_path):
    read, name, error = READERS[reader]
    (tmp_path / name).write_bytes(content)
    assert re.search(OTHERS[content], message(read, tmp_path / name, error))


@pytest.mark.parametrize("first", ["<unk>", "<html_page>", "[MASK]", "{", "version 2", "n01440764 tench", "404", "% x"])
def test_labels_may_be_any_text(first, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(f"{first}\nsecond\n")
    assert len(read_labels(str(path), path)) == 2


def binary() -> dict[str, bytes]:
    """Files of numbers, of every form that is read."""
    buffers = {name: io.BytesIO() for name in ("torch", "older torch", "npy", "npz")}
    state = {"a": torch.ones(3)}
    torch.save(state, buffers["torch"])
    torch.save(state, buffers["older torch"], _use_new_zipfile_serialization=False)
    np.save(buffers["npy"], np.ones(3))
    np.savez(buffers["npz"], a=np.ones(3))
    return {"safetensors": save(state), **{name: buffer.getvalue() for name, buffer in buffers.items()}}


@pytest.mark.parametrize("form", binary())
def test_files_of_numbers_are_nothing_else(form, tmp_path):
    path = tmp_path / "w"
    path.write_bytes(binary()[form])
    refuse_page(path, "weights", WeightsError)
    refuse_foreign(path, "weights", WeightsError)
