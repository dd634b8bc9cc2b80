"""Published files, fetched once into a cache and accepted only with the published digest."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.errors import DownloadError, SettingsError
from pipeline.nets.archive import extract, member_path
from pipeline.nets.file_kind import HEAD, page_kind

CHUNK = 1 << 20  # bytes between two reports of progress
TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 3  # connections for a download that is cut short

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all (None if the server does not state it)
Confirm = Callable[[str], bool]  # asks the user a question; True for yes


@dataclass(frozen=True)
class Digests:
    """The digests of a file, as far as they are published; lower-case hexadecimal.

    sha1, sha256 : of the bytes of the file.
    git_blob : git's id of the file: SHA-1 of "blob <size>", a zero byte and the file.
    """

    sha1: str | None = None
    git_blob: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        for name, length in (("sha1", 40), ("git_blob", 40), ("sha256", 64)):
            text = getattr(self, name)
            if text is None:
                continue
            if len(text) != length or any(letter not in "0123456789abcdef" for letter in text.lower()):
                raise SettingsError(f"digest {name}: got {text!r}, expected {length} hexadecimal digits")
            object.__setattr__(self, name, text.lower())

    @property
    def stated(self) -> bool:
        """Whether at least one digest is given."""
        return any((self.sha1, self.git_blob, self.sha256))

    def differences(self, computed: Digests) -> str:
        """The stated digests that differ from the computed ones, in words; "" if none does."""
        pairs = ((name, getattr(self, name), getattr(computed, name)) for name in ("sha1", "git_blob", "sha256"))
        return ", ".join(f"{name} is {got}, expected {want}" for name, want, got in pairs if want not in (None, got))


def fetch(
    url: str,
    digests: Digests,
    cache: Path,
    progress: Progress | None = None,
    *,
    member: str | None = None,
    confirm: Confirm | None = None,
    timeout: float = TIMEOUT,
    setting: str = "model.weights",
) -> Path:
    """Path of the file at an address, which is downloaded into the cache unless it is there already.

    A download that was cut short continues where it stopped, also in a later run, if the server confirms that its file
    is the same.

    url : address of the file.
    digests : of the file at the address, checked before the file gets its name. If none is stated, `confirm` is asked
        with the computed SHA-256. Unless the user confirms, the file is rejected, but kept so that
        a later run can accept it by digest.
    cache : folder of the downloaded files.
    progress : called with the bytes so far and in all.
    member : the file to extract from a .tar, .tar.gz, .tgz or .zip archive at the address.
    confirm : asks the user; None refuses files without a stated digest.
    timeout : seconds without a byte after which a connection counts as lost.
    setting : the option by which the user can give a path instead, for messages.
    Raises DownloadError if the file cannot be fetched or is not the published one.
    """
    final = cached_path(url, cache)
    wanted = cached_path(url, cache, member)
    try:
        if final.exists():  # writes nothing, because a cache may be shared and read-only
            _check_cached(final, digests)
            if wanted.exists():
                return wanted
        final.parent.mkdir(parents=True, exist_ok=True)
        with _locked(final.parent):
            waiting = _aside(final, ".unconfirmed")
            if not final.exists():
                if not waiting.exists():
                    _download(url, _aside(final, ".part"), progress, timeout, setting)
                    os.replace(_aside(final, ".part"), waiting)
                _accept(url, waiting, final, digests, confirm, setting)
            if member is not None and not wanted.exists():
                extract(final, member, wanted)
            return wanted
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(
            f"cache {final.parent}: {_line(error)}; make room, or name another folder by ATLAS_CACHE=…"
        ) from None


def fetch_published(url: str, digests: Digests, member: str | None = None, setting: str = "model.weights") -> Path:
    """`fetch` into the user's cache.

    At a terminal it shows a line of progress, and asks the user about a file without a stated digest.
    """
    progress = progress_line(url) if sys.stderr.isatty() else None
    return fetch(url, digests, cache_folder(), progress, member=member, confirm=confirm_at_terminal, setting=setting)


def cache_folder() -> Path:
    """The folder of published files: ATLAS_CACHE, else ~/.cache/visualization-atlas."""
    named = os.environ.get("ATLAS_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "visualization-atlas"


def cached_path(url: str, cache: Path, member: str | None = None) -> Path:
    """The path under which `fetch` stores the file; addresses with the same last part get different folders."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise DownloadError(f"address {url}: expected http://… or https://…")
    name = PurePosixPath(urllib.parse.unquote(parts.path)).name
    name = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name).strip(".")
    final = cache / hashlib.sha256(url.encode()).hexdigest()[:12] / (name if name else "file")
    return final if member is None else member_path(final, member)


def confirm_at_terminal(question: str) -> bool:
    """Whether the user answers yes; False without a terminal."""
    if not sys.stdin.isatty():
        return False
    return input(f"{question} Trust it? [y/N] ").strip().lower() in ("y", "yes")


def progress_line(url: str) -> Progress:
    """A progress function that rewrites one line on stderr."""
    name = url.rsplit("/", 1)[-1]

    def show(received: int, total: int | None) -> None:
        whole = "" if total is None else f" of {total / 1e6:.1f}"
        end = "\n" if received == total else ""
        sys.stderr.write(f"\r{name}: {received / 1e6:.1f}{whole} MB{end}")
        sys.stderr.flush()

    return show


# Verification ----------------------------------------------------------------------------------------


def digests_of(path: Path) -> Digests:
    """The three digests of a file, computed."""
    sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    blob = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            for digest in (sha1, blob, sha256):
                digest.update(chunk)
    return Digests(sha1.hexdigest(), blob.hexdigest(), sha256.hexdigest())


def _check_cached(final: Path, digests: Digests) -> None:
    """Raise DownloadError if the file does not have the stated digests, or was accepted with another."""
    record = _aside(final, ".sha256")
    accepted = Digests(sha256=record.read_text().strip()) if record.exists() else Digests()
    computed = digests_of(final)
    for expected in (digests, accepted):
        if difference := expected.differences(computed):
            raise DownloadError(
                f"cached file {final}: {difference}; remove it to fetch it again, or correct the digest that you gave"
            )


def _accept(url: str, waiting: Path, final: Path, digests: Digests, confirm: Confirm | None, setting: str) -> None:
    """Give a complete download its name, if it is the published file."""
    with waiting.open("rb") as file:
        page = page_kind(file.read(HEAD))
    if page is not None:
        waiting.unlink()
        raise DownloadError(
            f"address {url}: gives {page[0]}; it is not kept. "
            f"Get the file elsewhere and give its path by {setting}=PATH"
        )
    computed = digests_of(waiting)
    if difference := digests.differences(computed):
        size = waiting.stat().st_size
        waiting.unlink()
        raise DownloadError(
            f"address {url}: not the published file ({size} bytes), {difference}; it is not kept. "
            f"Get the right file elsewhere and give its path by {setting}=PATH"
        )
    if not digests.stated:
        size = waiting.stat().st_size
        question = f"{url}: no digest is published for this file of {size} bytes; its SHA-256 is {computed.sha256}."
        if confirm is None or not confirm(question):
            raise DownloadError(
                f"{question} Compare it with the digest that others report, and give "
                f"{_digest_setting(setting, computed)} (or {setting}=PATH for a file of your own)"
            )
    _aside(final, ".sha256").write_text(f"{computed.sha256}\n")
    os.replace(waiting, final)


def _digest_setting(setting: str, computed: Digests) -> str:
    """The option that states a file's digest: SHA-1 for a mean, else SHA-256."""
    kind = "sha1" if setting == "model.mean" else "sha256"
    return f"{setting}_{kind}={getattr(computed, kind)}"


# Downloading -----------------------------------------------------------------------------------------


def _download(url: str, part: Path, progress: Progress | None, timeout: float, setting: str) -> None:
    """Fill `part` with the whole file, over up to ATTEMPTS connections."""
    for _ in range(ATTEMPTS):
        received = part.stat().st_size if part.exists() else 0
        try:
            if _continue(url, part, progress, timeout):
                return
            problem = "the connection was cut"
        except urllib.error.HTTPError as error:
            if error.code == 416 and received:  # the server has no more bytes: begin again
                part.unlink()
                problem = "the file there has changed"
                continue
            raise _unreachable(url, f"the server answers {error.code} {error.reason}", setting) from None
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            problem = _line(reason) if isinstance(reason, Exception) else str(reason)
            if not part.exists() or part.stat().st_size <= received:  # no progress: another attempt will not help
                break
        except ValueError as error:  # an invalid address
            raise _unreachable(url, _line(error), setting) from None
    raise _unreachable(url, problem, setting)


def _continue(url: str, part: Path, progress: Progress | None, timeout: float) -> bool:
    """Append the bytes of one connection; return whether the file is complete.

    Begins again if the server cannot continue.
    """
    tag_file = _aside(part, ".tag")
    start = part.stat().st_size if part.exists() and tag_file.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "visualization-atlas", "Accept-Encoding": "identity"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", tag_file.read_text())
    with urllib.request.urlopen(request, timeout=timeout) as response:
        resumed = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        start = start if resumed else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        if not resumed:
            _keep_tag(tag_file, response.headers)
        with part.open("ab" if resumed else "wb") as file:
            received = start
            while chunk := response.read(CHUNK):
                file.write(chunk)
                received += len(chunk)
                if progress is not None:
                    progress(received, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and received < total:
        return False
    tag_file.unlink(missing_ok=True)
    return True


def _keep_tag(tag_file: Path, headers: http.client.HTTPMessage) -> None:
    """Store the server's tag of this version of the file, without which a later run cannot continue."""
    tag = headers.get("ETag")
    tag = headers.get("Last-Modified") if tag is None or tag.startswith("W/") else tag
    if tag is None:
        tag_file.unlink(missing_ok=True)
    else:
        tag_file.write_text(tag)


def _unreachable(url: str, problem: str, setting: str) -> DownloadError:
    return DownloadError(
        f"address {url}: {problem}; get the file elsewhere and give its path by {setting}=PATH, or try again later"
    )


# Files -----------------------------------------------------------------------------------------------


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Allow one download into the folder at a time, across processes."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _aside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
