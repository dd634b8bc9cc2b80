"""Published files, fetched once into a cache and believed only when their digest is the published one."""

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

CHUNK = 1 << 20  # bytes; one report of progress each
TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 3  # connections, when a download is cut short

Progress = Callable[[int, int | None], None]  # bytes there, bytes in all (None where the server does not say)
Confirm = Callable[[str], bool]  # a question to a person


@dataclass(frozen=True)
class Digests:
    """What is known of a file: SHA-1, git's blob id (SHA-1 of "blob <size>", a zero byte and the file), SHA-256."""

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
    def known(self) -> bool:
        return any((self.sha1, self.git_blob, self.sha256))

    def differences(self, found: Digests) -> str:
        """What differs from the digests found, in words; "" when nothing that is known does."""
        pairs = ((name, getattr(self, name), getattr(found, name)) for name in ("sha1", "git_blob", "sha256"))
        return ", ".join(f"{name} is {got}, expected {own}" for name, own, got in pairs if own not in (None, got))


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
    """The file at an address, downloaded into the cache unless it is there already.

    digests : of the file at the address, checked before it gets its name. Where none is known, `confirm` is asked
    with the SHA-256 found; without a yes the file is refused, but kept aside for the run that states its digest.
    member : the one file wanted of a .tar, .tar.gz, .tgz or .zip archive at the address.
    setting : what messages tell the user to set to a path of their own.
    timeout : seconds without a byte. A download that is cut short goes on where it stopped, also in a later run,
    when the server says that its file is the same.
    Raises DownloadError when the file cannot be had, or is not the published one.
    """
    final = cached_path(url, cache)
    wanted = cached_path(url, cache, member)
    try:
        if final.exists():  # looking writes nothing: a cache may be shared and read-only
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
    """`fetch` into the user's cache; at a terminal with a line of progress, and a question where no digest is known."""
    progress = progress_line(url) if sys.stderr.isatty() else None
    return fetch(url, digests, cache_folder(), progress, member=member, confirm=confirm_at_terminal, setting=setting)


def cache_folder() -> Path:
    """Where published files are kept: ATLAS_CACHE, else ~/.cache/visualization-atlas."""
    named = os.environ.get("ATLAS_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "visualization-atlas"


def cached_path(url: str, cache: Path, member: str | None = None) -> Path:
    """Where `fetch` puts the file; addresses that end alike do not meet."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise DownloadError(f"address {url}: expected http://… or https://…")
    name = PurePosixPath(urllib.parse.unquote(parts.path)).name
    name = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in name).strip(".")
    final = cache / hashlib.sha256(url.encode()).hexdigest()[:12] / (name if name else "file")
    return final if member is None else member_path(final, member)


def confirm_at_terminal(question: str) -> bool:
    """Whether a person says yes; no where nobody sits."""
    if not sys.stdin.isatty():
        return False
    return input(f"{question} Trust it? [y/N] ").strip().lower() in ("y", "yes")


def progress_line(url: str) -> Progress:
    """Writes one line on stderr over and over."""
    name = url.rsplit("/", 1)[-1]

    def show(there: int, total: int | None) -> None:
        whole = "" if total is None else f" of {total / 1e6:.1f}"
        end = "\n" if there == total else ""
        sys.stderr.write(f"\r{name}: {there / 1e6:.1f}{whole} MB{end}")
        sys.stderr.flush()

    return show


# Believing -------------------------------------------------------------------------------------------


def digests_of(path: Path) -> Digests:
    """All three digests of a file."""
    sha1, sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    blob = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            for digest in (sha1, blob, sha256):
                digest.update(chunk)
    return Digests(sha1.hexdigest(), blob.hexdigest(), sha256.hexdigest())


def _check_cached(final: Path, digests: Digests) -> None:
    """Raise DownloadError if the file is not what was expected, or believed when it came."""
    record = _aside(final, ".sha256")
    believed = Digests(sha256=record.read_text().strip()) if record.exists() else Digests()
    found = digests_of(final)
    for expected in (digests, believed):
        if difference := expected.differences(found):
            raise DownloadError(
                f"cached file {final}: {difference}; remove it to fetch it again, or correct the digest that you gave"
            )


def _accept(url: str, waiting: Path, final: Path, digests: Digests, confirm: Confirm | None, setting: str) -> None:
    """Give a whole download its name, if it is what was published."""
    found = digests_of(waiting)
    if difference := digests.differences(found):
        size = waiting.stat().st_size
        waiting.unlink()
        raise DownloadError(
            f"address {url}: not the published file ({size} bytes), {difference}; it is not kept. "
            f"Get the right file elsewhere and give its place by {setting}=PATH"
        )
    if not digests.known:
        size = waiting.stat().st_size
        question = f"{url}: no digest is published for this file of {size} bytes; its SHA-256 is {found.sha256}."
        if confirm is None or not confirm(question):
            raise DownloadError(
                f"{question} Compare it with what others got, and give {_digest_setting(setting, found)} "
                f"(or {setting}=PATH for a file of your own)"
            )
    _aside(final, ".sha256").write_text(f"{found.sha256}\n")
    os.replace(waiting, final)


def _digest_setting(setting: str, found: Digests) -> str:
    """The setting that states a file's digest: of a mean, its SHA-1."""
    kind = "sha1" if setting == "model.mean" else "sha256"
    return f"{setting}_{kind}={getattr(found, kind)}"


# Downloading -----------------------------------------------------------------------------------------


def _download(url: str, part: Path, progress: Progress | None, timeout: float, setting: str) -> None:
    """Fill `part` with the whole file, over as many connections as it takes."""
    for _ in range(ATTEMPTS):
        there = part.stat().st_size if part.exists() else 0
        try:
            if _continue(url, part, progress, timeout):
                return
            problem = "the connection was cut"
        except urllib.error.HTTPError as error:
            if error.code == 416 and there:  # nothing follows what is there: begin again
                part.unlink()
                problem = "the file there has changed"
                continue
            raise _unreachable(url, f"the server answers {error.code} {error.reason}", setting) from None
        except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            problem = _line(reason) if isinstance(reason, Exception) else str(reason)
            if not part.exists() or part.stat().st_size <= there:  # nothing came: waiting will not help
                break
        except ValueError as error:  # an address that cannot be asked for
            raise _unreachable(url, _line(error), setting) from None
    raise _unreachable(url, problem, setting)


def _continue(url: str, part: Path, progress: Progress | None, timeout: float) -> bool:
    """Add what one connection gives; whether the file is whole. Begins again where the server cannot go on."""
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
            there = start
            while chunk := response.read(CHUNK):
                file.write(chunk)
                there += len(chunk)
                if progress is not None:
                    progress(there, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and there < total:
        return False
    tag_file.unlink(missing_ok=True)
    return True


def _keep_tag(tag_file: Path, headers: http.client.HTTPMessage) -> None:
    """Note what names this version of the file; without it a later run cannot go on."""
    tag = headers.get("ETag")
    tag = headers.get("Last-Modified") if tag is None or tag.startswith("W/") else tag
    if tag is None:
        tag_file.unlink(missing_ok=True)
    else:
        tag_file.write_text(tag)


def _unreachable(url: str, problem: str, setting: str) -> DownloadError:
    return DownloadError(
        f"address {url}: {problem}; get the file elsewhere and give its place by {setting}=PATH, or try again later"
    )


# Files -----------------------------------------------------------------------------------------------


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One download of a file at a time, also among processes."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _aside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
