from __future__ import annotations

import bz2
import gzip
import hashlib
import http.server
import io
import lzma
import pickle
import random
import socket
import subprocess
import tarfile
import threading
import zipfile

import pytest

from pipeline.errors import DownloadError, SettingsError
from pipeline.nets.download import Digests, cache_folder, cached_path, digests_of, fetch

CONTENT = bytes(range(256)) * 20_000  # 5 MB: more than one chunk, so that a cut leaves a partial file


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; for each number in `cuts`, one response for the path ends after that many bytes."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {"/weights.bin": CONTENT}
        self.cuts: dict[str, list[int]] = {}
        self.tag: str | None = '"one"'
        self.asked: list[str] = []  # path and range of every request
        self.ranges = True

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server: Server = self.server  # type: ignore[assignment]
        wanted = self.headers.get("Range")
        server.asked.append(f"{self.path} {wanted}")
        if self.path == "/moved.bin":
            self.send_response(302)
            self.send_header("Location", "/weights.bin")
            self.end_headers()
            return
        if self.path == "/silent":
            threading.Event().wait(3)
            return
        if self.path not in server.files:
            self.send_error(404)
            return
        content, start = server.files[self.path], 0
        if wanted and server.ranges and self.headers.get("If-Range") == server.tag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if server.tag:
            self.send_header("ETag", server.tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cuts = server.cuts.get(self.path, [])
        stop = cuts.pop(0) if cuts else len(content)
        self.wfile.write(content[start:stop])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def sha1(content: bytes = CONTENT) -> Digests:
    return Digests(sha1=hashlib.sha1(content).hexdigest())


def test_a_file_is_fetched_once(server, tmp_path):
    url, seen = server.address("/weights.bin"), []
    path = fetch(url, sha1(), tmp_path, lambda there, total: seen.append((there, total)))
    assert path.read_bytes() == CONTENT
    assert path.name == "weights.bin"
    assert seen == sorted(seen) and seen[-1] == (len(CONTENT), len(CONTENT)) and len(seen) > 2
    assert fetch(url, sha1(), tmp_path) == path == cached_path(url, tmp_path)
    assert len(server.asked) == 1


def test_git_blob_ids_are_those_of_git(tmp_path):
    (tmp_path / "file").write_bytes(b"some weights\n")
    said = subprocess.run(["git", "hash-object", "file"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert digests_of(tmp_path / "file").git_blob == said.stdout.strip()


@pytest.mark.parametrize("kind", ["sha1", "git_blob", "sha256"])
def test_any_of_the_digests_accepts_the_file_and_a_wrong_one_refuses_it(server, tmp_path, kind):
    (tmp_path / "own").write_bytes(CONTENT)
    right = getattr(digests_of(tmp_path / "own"), kind)
    url = server.address("/weights.bin")
    wrong = "0" * len(right)
    with pytest.raises(DownloadError, match=f"not the published file .*{kind} is {right}, expected {wrong}") as caught:
        fetch(url, Digests(**{kind: wrong}), tmp_path)
    assert "model.weights=PATH" in str(caught.value) and "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert [path.name for path in cached_path(url, tmp_path).parent.iterdir()] == [".lock"]
    assert fetch(url, Digests(**{kind: right.upper()}), tmp_path).read_bytes() == CONTENT


def test_a_redirect_is_followed(server, tmp_path):
    assert fetch(server.address("/moved.bin"), sha1(), tmp_path).read_bytes() == CONTENT


def test_a_cut_download_goes_on_where_it_stopped(server, tmp_path):
    server.cuts["/weights.bin"] = [2_000_000, 4_000_000]
    assert fetch(server.address("/weights.bin"), sha1(), tmp_path).read_bytes() == CONTENT
    assert server.asked == [f"/weights.bin {asked}" for asked in (None, "bytes=2000000-", "bytes=4000000-")]


def test_a_later_run_goes_on_where_an_earlier_one_was_cut(server, tmp_path):
    url = server.address("/weights.bin")
    server.cuts["/weights.bin"] = [1_000_000, 2_000_000, 3_000_000]
    with pytest.raises(DownloadError, match="the connection was cut.*try again later"):
        fetch(url, sha1(), tmp_path)
    assert not cached_path(url, tmp_path).exists()
    assert fetch(url, sha1(), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == "/weights.bin bytes=3000000-"


@pytest.mark.parametrize("case", ["no tag", "no ranges", "another version"])
def test_a_cut_download_begins_again_where_the_server_cannot_go_on(server, tmp_path, case):
    url = server.address("/weights.bin")
    server.cuts["/weights.bin"] = [1_000_000]
    server.tag = None if case == "no tag" else server.tag
    server.ranges = case != "no ranges"
    content = CONTENT
    if case == "another version":
        server.cuts["/weights.bin"] = [1_000_000] * 3
        server.ranges = False
        with pytest.raises(DownloadError):
            fetch(url, sha1(), tmp_path)
        server.ranges, server.tag, content = True, '"two"', CONTENT[::-1]
        server.files["/weights.bin"] = content
    assert fetch(url, sha1(content), tmp_path).read_bytes() == content


def test_a_dead_address_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/weights.bin"
        with pytest.raises(DownloadError, match="refused.*get the file elsewhere.*model.weights=PATH"):
            fetch(url, sha1(), tmp_path)


def test_a_missing_file_says_so(server, tmp_path):
    with pytest.raises(DownloadError, match="the server answers 404.*model.weights=PATH"):
        fetch(server.address("/gone.bin"), sha1(), tmp_path)


def test_a_silent_server_is_not_waited_for(server, tmp_path):
    with pytest.raises(DownloadError, match="timed out"):
        fetch(server.address("/silent"), sha1(), tmp_path, timeout=0.2)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "weights.bin", "ftp://127.0.0.1/x", "http:///x"])
def test_only_web_addresses_are_fetched(url, tmp_path):
    with pytest.raises(DownloadError, match="expected http"):
        fetch(url, sha1(), tmp_path)


def test_without_a_published_digest_nobody_is_trusted_unasked(server, tmp_path):
    url, found = server.address("/weights.bin"), hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(DownloadError, match=f"model.weights_sha256={found}"):
        fetch(url, Digests(), tmp_path)
    with pytest.raises(DownloadError, match=found):
        fetch(url, Digests(), tmp_path, confirm=lambda question: False)
    assert not cached_path(url, tmp_path).exists()
    assert fetch(url, Digests(sha256=found), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 1  # a file that was refused for lack of a digest is not fetched twice


@pytest.mark.parametrize(
    "content, words",
    [
        (
            b"<!DOCTYPE html><title>Google Drive - Virus scan warning</title>",
            "a web page .*Virus scan warning.*, not the",
        ),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 99\n", "a Git LFS pointer .* 99 bytes"),
        (b"<Error><Code>AccessDenied</Code></Error>", "the answer of a server in XML .*AccessDenied"),
    ],
)
def test_a_page_is_called_a_page_and_nobody_is_asked_to_trust_it(server, tmp_path, content, words):
    server.files["/page.bin"] = content
    url, questions = server.address("/page.bin"), []
    for digests in (Digests(), sha1()):
        with pytest.raises(DownloadError, match=f"gives {words}.*it is not kept.*model.weights=PATH"):
            fetch(url, digests, tmp_path, confirm=questions.append)
    assert questions == []
    assert [path.name for path in tmp_path.rglob("page*")] == []
    server.files["/page.bin"] = CONTENT  # the right file there later is fetched as if nothing had been
    assert fetch(url, sha1(), tmp_path).read_bytes() == CONTENT


def test_a_person_may_trust_a_file_and_is_asked_once(server, tmp_path):
    url, questions = server.address("/weights.bin"), []

    def yes(question: str) -> bool:
        questions.append(question)
        return True

    path = fetch(url, Digests(), tmp_path, confirm=yes)
    assert fetch(url, Digests(), tmp_path) == path
    assert len(questions) == 1 and hashlib.sha256(CONTENT).hexdigest() in questions[0]
    assert str(len(CONTENT)) in questions[0]


def test_a_cached_file_that_has_changed_is_refused(server, tmp_path):
    url = server.address("/weights.bin")
    path = fetch(url, Digests(), tmp_path, confirm=lambda question: True)
    path.write_bytes(CONTENT[:-1])
    for digests in (Digests(), sha1()):
        with pytest.raises(DownloadError, match="cached file .*expected .*remove it to fetch it again"):
            fetch(url, digests, tmp_path)


def test_addresses_that_end_alike_have_files_of_their_own(server, tmp_path):
    server.files["/other/weights.bin"] = b"other"
    first = fetch(server.address("/weights.bin"), sha1(), tmp_path)
    second = fetch(server.address("/other/weights.bin"), sha1(b"other"), tmp_path)
    assert (first.read_bytes(), second.read_bytes()) == (CONTENT, b"other")


def tar_of(*members: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        link = tarfile.TarInfo("data/link.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def zip_of(*members: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def zip_of_zeros(count: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mean.bin", bytes(count))
    return packed.getvalue()


@pytest.mark.parametrize("pack", [tar_of, zip_of])
@pytest.mark.parametrize("member", ["data/mean.bin", "mean.bin"])
def test_one_member_of_an_archive_is_taken_out(server, tmp_path, pack, member):
    packed = pack(("data/mean.bin", b"mean"), ("data/other.bin", b"other"))
    url = server.address("/archive")
    server.files["/archive"] = packed
    path = fetch(url, sha1(packed), tmp_path, member=member)
    assert path.read_bytes() == b"mean" and path == cached_path(url, tmp_path, member)
    assert fetch(url, sha1(packed), tmp_path, member="other.bin").read_bytes() == b"other"
    assert len(server.asked) == 1


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_a_member_never_leaves_the_cache(server, tmp_path, pack):
    packed = pack(("../../../escaped.bin", b"x"))
    server.files["/archive"] = packed
    cache = tmp_path / "cache"
    path = fetch(server.address("/archive"), sha1(packed), cache, member="../../../escaped.bin")
    assert cache in path.resolve().parents
    assert [each for each in tmp_path.rglob("escaped.bin")] == [path]


@pytest.mark.parametrize(
    "packed, member, words",
    [
        (tar_of(("data/mean.bin", b"x")), "data/men.bin", r"no file data/men.bin \(nearest: data/mean.bin"),
        (tar_of(), "data/link.bin", "holds no file data/link.bin"),
        (CONTENT, "mean.bin", "neither tar nor zip"),
        (tar_of(("a", bytes(100_000)), ("b", CONTENT))[:-300], "b", "cannot be read|neither tar"),
    ],
    ids=["near match", "link", "no archive", "cut"],
)
def test_a_bad_archive_or_member_is_refused(server, tmp_path, packed, member, words):
    server.files["/archive"] = packed
    url = server.address("/archive")
    with pytest.raises(DownloadError, match=words):
        fetch(url, sha1(packed), tmp_path, member=member)
    assert not cached_path(url, tmp_path, member).exists()


@pytest.mark.parametrize("pack", [tar_of, zip_of])
def test_a_member_that_unpacks_without_bound_is_refused(server, tmp_path, monkeypatch, pack):
    monkeypatch.setattr("pipeline.nets.archive.FREE", 10_000)
    packed = tar_of(("mean.bin", bytes(3_000_000))) if pack is tar_of else zip_of_zeros(3_000_000)
    server.files["/archive"] = packed
    with pytest.raises(DownloadError, match="unpacks to far more"):
        fetch(server.address("/archive"), sha1(packed), tmp_path, member="mean.bin")
    assert not [*tmp_path.rglob("*.part")]


@pytest.mark.parametrize("compress", [bz2.compress, gzip.compress, lzma.compress])
def test_a_compressed_archive_that_is_damaged_is_refused(server, tmp_path, compress):
    plain = gzip.decompress(tar_of(("a", b""), ("b", random.Random(0).randbytes(2_000_000))))
    packed = bytearray(compress(plain))
    packed[len(packed) // 2 :] = bytes(len(packed) - len(packed) // 2)
    server.files["/archive"] = bytes(packed)
    with pytest.raises(DownloadError, match="cannot be read"):
        fetch(server.address("/archive"), sha1(bytes(packed)), tmp_path, member="b")


def test_a_digest_must_have_its_length():
    with pytest.raises(SettingsError, match="digest sha256: got 'abc', expected 64 hexadecimal digits"):
        Digests(sha256="abc")


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("ATLAS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("ATLAS_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "visualization-atlas"


def test_a_cache_that_cannot_be_written_says_so(server, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DownloadError, match="ATLAS_CACHE"):
        fetch(server.address("/weights.bin"), sha1(), tmp_path / "file")
