"""The user's own files that a transform is made of, found by following imports. Nothing is imported."""

from __future__ import annotations

import ast
import hashlib
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

import etlkit

_MARKERS = ("pyproject.toml", ".git")
"""One of these stands in the folder of a project."""

_INSTALLED = ("site-packages", "dist-packages")

MAX_FILES = 200
"""More files than these are remembered as one."""

_FURTHER = "further files"
_MAX_SHOWN = 5

_DIGEST_CHARS = 12
"""Of a file's SHA-256, in hexadecimal: enough to tell two versions of a file apart."""


def code_digests(parts: Iterable[object]) -> dict[str, str]:
    """Digests of the files in which classes and functions are written, and of what these import.

    Followed are imports anywhere in a file, also within functions, and whatever a loaded module has
    in its globals, as long as it leads to files of the same project: the nearest folder with a
    `pyproject.toml` or a `.git`, else the folder that holds the top-level package. The standard
    library, installed packages and etlkit itself are left out, and so are files that are no modules.

    Args:
        parts: Classes and functions, that of the transform first; its project counts.

    Returns:
        Path within the project -> digest. Something that is in no file has its name instead.
    """
    found: dict[str, str] = {}
    queue: list[tuple[str, Path]] = []
    for part in parts:
        place = _place_of(part)
        if place is None:
            name = getattr(part, "__qualname__", repr(part))
            found[f"<{name}>"] = digest(name.encode())
        else:
            queue.append(place)
    if not queue:
        return found
    root = _project_of(*queue[0])
    seen = {path for _, path in queue}
    while queue:
        name, path = queue.pop()
        version = path.stat()
        content, imports = _read(path, version.st_mtime_ns, version.st_size)
        found[_shown(path, root)] = content
        for other in _imported(name, path, imports):
            if other[1] not in seen and _is_own(other[1], root):
                seen.add(other[1])
                queue.append(other)
    return found


def bounded(digests: Mapping[str, str]) -> dict[str, str]:
    """At most `MAX_FILES` digests, for the ledger; the last one then stands for all further files."""
    names = sorted(digests)
    if len(names) <= MAX_FILES:
        return dict(digests)
    shown, rest = names[: MAX_FILES - 1], names[MAX_FILES - 1 :]
    together = "".join(f"{name} {digests[name]}\n" for name in rest)
    return {**{name: digests[name] for name in shown}, _FURTHER: digest(together.encode())}


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between two sets of digests, e.g. `helpers/score.py changed`; a few of them."""
    found = [
        f"{name} changed" for name in sorted(before) if now.get(name, before[name]) != before[name]
    ]
    found += [f"{name} is new" for name in sorted(now.keys() - before.keys())]
    found += [f"{name} is no longer used" for name in sorted(before.keys() - now.keys())]
    more = len(found) - _MAX_SHOWN
    return found if more <= 0 else [*found[:_MAX_SHOWN], f"{more} more"]


def place_within_project(part: object) -> str | None:
    """The file in which a class or function is written, within its project; None = it has none."""
    place = _place_of(part)
    return None if place is None else _shown(place[1], _project_of(*place))


def _place_of(part: object) -> tuple[str, Path] | None:
    """Name and file of the module in which a class or function is written; None = it has no file."""
    name = getattr(part, "__module__", None)
    path = _file_of(sys.modules.get(name)) if isinstance(name, str) else None
    return None if path is None else (str(name), path)


def _file_of(module: ModuleType | None) -> Path | None:
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return None
    path = Path(file).resolve()
    return path if path.is_file() else None


def _project_of(name: str, path: Path) -> Path:
    for folder in path.parents:
        if any((folder / marker).exists() for marker in _MARKERS):
            return folder
    depth = name.count(".") + (path.name == "__init__.py")
    matches = path.with_suffix("").parts[-depth - 1 :] == tuple(name.split("."))
    return path.parents[depth] if matches and depth < len(path.parents) else path.parent


@lru_cache(maxsize=1)
def _foreign_folders() -> tuple[Path, ...]:
    paths = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), etlkit.__path__[0])
    return tuple(Path(path).resolve() for path in paths)


def _is_own(path: Path, root: Path) -> bool:
    if not path.is_relative_to(root) or any(name in path.parts for name in _INSTALLED):
        return False
    return not any(path.is_relative_to(folder) for folder in _foreign_folders())


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def digest(content: bytes) -> str:
    """A short digest."""
    return hashlib.sha256(content).hexdigest()[:_DIGEST_CHARS]


@contextmanager
def unwarned() -> Iterator[None]:
    """Silence Python's warnings while a user's file is parsed: importing the file shows them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@lru_cache(maxsize=1000)
def _read(path: Path, _mtime_ns: int, _size: int) -> tuple[str, tuple[tuple[int, str, str], ...]]:
    """Digest of a file, and its imports: number of leading dots, module, name; read once a version."""
    content = path.read_bytes()
    try:
        with unwarned():
            tree = ast.parse(content)
    except (SyntaxError, ValueError):  # it is imported where it is used, if ever
        return digest(content), ()
    imports: list[tuple[int, str, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [(0, alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imports += [(node.level, node.module or "", alias.name) for alias in node.names]
    return digest(content), tuple(dict.fromkeys(imports))


def _imported(
    name: str, path: Path, imports: Iterable[tuple[int, str, str]]
) -> Iterator[tuple[str, Path]]:
    """Names and files of the modules that a module imports or has in its globals."""
    names = [
        each for level, module, what in imports for each in _names(name, path, level, module, what)
    ]
    loaded = sys.modules.get(name)
    for value in list(vars(loaded).values()) if loaded is not None else ():
        if isinstance(value, ModuleType):
            names.append(value.__name__)
        elif isinstance(home := getattr(value, "__module__", None), str):
            names.append(home)
    for each in dict.fromkeys(names):
        module = sys.modules.get(each)
        file = _find(each, path) if module is None else _file_of(module)
        if file is not None:
            yield each, file


def _names(name: str, path: Path, level: int, module: str, what: str) -> Iterator[str]:
    """Modules that an import may mean: `from a.b import c` means `a`, `a.b`, and perhaps `a.b.c`."""
    if level:
        package = name.split(".")
        dropped = level - (path.name == "__init__.py")
        package = package[: len(package) - dropped] if dropped else package
        module = ".".join([*package, *([module] if module else [])])
    whole = [part for part in (*module.split("."), what) if part]
    for end in range(1, len(whole) + 1):
        yield ".".join(whole[:end])


def _find(name: str, importer: Path) -> Path | None:
    """The file that an import would load, without loading it or its package."""
    where: list[str] | None = [*sys.path, str(importer.parent)]
    spec = None
    for part in name.split("."):
        if where is None:
            return None
        try:
            spec = PathFinder.find_spec(part, where)
        except (ImportError, ValueError):
            return None
        if spec is None:
            return None
        found = spec.submodule_search_locations
        where = None if found is None else list(found)
    origin = None if spec is None else spec.origin
    return Path(origin).resolve() if origin and origin.endswith(".py") else None
