"""A folder of pages that is replaced as a whole: made beside the old one, and swapped in when it is complete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atlas_viewer.errors import AtlasError

MARK = ".atlas-site"  # a file that marks a folder as a site, so that it may be replaced
HERE = Path(__file__).parent


@contextmanager
def replacing(out: Path, pages: bool = True) -> Iterator[Path]:
    """Give a fresh folder, which takes the place of `out` if the body ends well.

    pages : whether it gets what all pages share.
    Raises AtlasError where `out` holds something that is not such a folder.
    """
    _refuse_foreign(out)
    new, old = out.with_name(out.name + ".building"), out.with_name(out.name + ".replaced")
    if (old / MARK).is_file() and not out.exists():  # a build was stopped between its last two steps
        old.rename(out)
    for left in (new, old):
        _refuse_foreign(left)
        shutil.rmtree(left, ignore_errors=True)  # of a build that was stopped
    try:
        new.mkdir(parents=True)
        (new / MARK).write_text("Made from an atlas; replaced as a whole by the next build.\n", encoding="utf-8")
        if pages:
            shutil.copytree(HERE / "static", new / "static")
        yield new
    except BaseException:  # also when stopped by hand: nothing half-made stays
        shutil.rmtree(new, ignore_errors=True)
        raise
    try:
        if out.exists():
            out.rename(old)
        new.rename(out)
    except OSError:
        if old.exists() and not out.exists():
            old.rename(out)
        shutil.rmtree(new, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not (folder / MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise AtlasError(f"site {folder}: holds something other than a site; name another folder or empty it")
