"""Lay out the wheel: the folders of the checkout in one namespace, so that nothing installed is called `pipeline`.

- pipeline/, jobs/ and conf/ become visualization_atlas/pipeline/ and so on, and `from pipeline.x import y` becomes
  `from visualization_atlas.pipeline.x import y`.
- atlas_viewer/ becomes visualization_atlas/reader/atlas_viewer/, unchanged; visualization_atlas.pth puts its folder on
  Python's path.
- jobs/packaging/namespace.py becomes visualization_atlas/__init__.py.

The distribution atlas-viewer installs the same reader as atlas_viewer/. No file belongs to both distributions, so each
can be added or removed beside the other. Where both are installed, Python finds atlas-viewer's first.

An editable install has the checkout on the path, with its own names, and visualization_atlas as an alias of it.
"""

from __future__ import annotations

import ast
import re
import shutil
import tempfile
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAMESPACE = "visualization_atlas"
MOVED = ("pipeline", "jobs", "conf")
LEFT_OUT = ("jobs/bench/", "jobs/zoo/", "jobs/packaging/", "jobs/slurm/", "jobs/ray/")
LEFT_OUT += ("atlas_viewer/pyproject.toml", "atlas_viewer/README.md")
# Files that the packages read, besides modules; anything else in their folders is no part of them.
SUFFIXES = (".py", ".yaml", ".prototxt", ".safetensors", ".md", ".txt", ".json", ".html", ".css", ".js")


class NamespaceHook(BuildHookInterface):
    """Writes the files of the wheel into a temporary folder, from which they are packed."""

    def initialize(self, version: str, build_data: dict) -> None:
        """version : "standard" or "editable"."""
        root, self.scratch = Path(self.root), Path(tempfile.mkdtemp())
        if version == "editable":
            write_alias(root, self.scratch)
            build_data["force_include_editable"][str(self.scratch / NAMESPACE)] = NAMESPACE
            return
        write_installed(root, self.scratch)
        for name in (NAMESPACE, f"{NAMESPACE}.pth"):
            build_data["force_include"][str(self.scratch / name)] = name

    def finalize(self, version: str, build_data: dict, artifact_path: str) -> None:
        shutil.rmtree(self.scratch)


def write_installed(root: Path, target: Path) -> None:
    """Write what the wheel of the checkout `root` holds into the folder `target`."""
    namespace = target / NAMESPACE
    for folder in (*MOVED, "atlas_viewer"):
        moved = namespace if folder in MOVED else namespace / "reader"
        for path in packaged(root / folder):
            relative = path.relative_to(root)
            if relative.as_posix().startswith(LEFT_OUT):
                continue
            (moved / relative).parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".py" and folder in MOVED:
                text = moved_imports(path.read_text(encoding="utf-8"), str(relative))
                (moved / relative).write_text(text, encoding="utf-8")
            else:
                shutil.copyfile(path, moved / relative)
    source = root / "jobs" / "packaging" / "namespace.py"
    text = moved_imports(source.read_text(encoding="utf-8"), source.name)
    (namespace / "__init__.py").write_text(text, encoding="utf-8")
    (target / f"{NAMESPACE}.pth").write_text(f"{NAMESPACE}/reader\n", encoding="utf-8")


def write_alias(root: Path, target: Path) -> None:
    """Write the namespace of an editable install: the modules of the checkout, under both names."""
    source, namespace = root / "jobs" / "packaging", target / NAMESPACE
    namespace.mkdir()
    shutil.copyfile(source / "checkout.py", namespace / "checkout.py")
    text = (source / "namespace.py").read_text(encoding="utf-8")
    start = f"\nfrom {NAMESPACE}.checkout import install_alias  # noqa: E402\n\ninstall_alias()\n"
    (namespace / "__init__.py").write_text(text + start, encoding="utf-8")


def packaged(folder: Path) -> list[Path]:
    """The files of a folder that belong to its packages, sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and (path.suffix in SUFFIXES or path.name.startswith("LICENSE"))
    )


def moved_imports(source: str, where: str) -> str:
    """The text of a module, with what it imports of the moved packages imported from the namespace.

    Only the names in import statements change: lines, texts and comments stay.

    where : name of the file, for errors.
    Raises ValueError for `import pipeline.x`, whose name `pipeline` the module would then use.
    """
    places = []  # line and column (in bytes) of an import, and what lies between there and the name
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and _is_moved(node.module):
            places.append((node.lineno, node.col_offset, rb"from\s+"))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if _is_moved(alias.name) and alias.asname is None:
                    raise ValueError(f"{where}:{node.lineno}: import {alias.name}: write from … import …, or … as …")
                if _is_moved(alias.name):
                    places.append((alias.lineno, alias.col_offset, rb""))
    lines = source.encode().splitlines(keepends=True)
    for number, column, before in sorted(places, reverse=True):
        line = lines[number - 1]
        at = re.compile(before).match(line, column).end()  # type: ignore[union-attr]
        lines[number - 1] = line[:at] + f"{NAMESPACE}.".encode() + line[at:]
    return b"".join(lines).decode()


def _is_moved(module: str | None) -> bool:
    return module is not None and module.partition(".")[0] in MOVED
