"""Snapshots of rows: what a transform gave is kept in a file beside the test, readable in a diff."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from etlkit.errors import ConfigError
from etlkit.testing.arguments import given_rows, short
from etlkit.testing.row_comparison import assert_rows

_UNSAFE: Final = re.compile(r"[^\w.-]+")
_MAX_STEM_BYTES: Final = 200
"""File systems allow 255 bytes in a name."""

_OPTION: Final = "--update-snapshots"


@dataclass
class SnapshotUse:
    """Which snapshots the tests of a session have used.

    Attributes:
        update: Write them instead of comparing.
        used: Their files.
        folders: Folders of snapshots whose test modules were collected.
        owners: Which test took a file last, and with which text.
    """

    update: bool
    used: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    owners: dict[str, tuple[RowSnapshot, str]] = field(default_factory=dict)

    def unused(self, skipped: Collection[tuple[str, str]]) -> list[Path]:
        """Files that no test has used.

        Those of collected modules, and those of modules beside them that are gone.

        Args:
            skipped: Module and name of tests that did not run to their end; theirs are left alone.
        """
        kept = {
            module: {_stem(test) for path, test in skipped if path == module}
            for module, _ in skipped
        }
        folders = {Path(folder) for folder in self.folders}
        for root in {folder.parent for folder in folders}:
            folders |= {each for each in _folders(root) if not _module(each).exists()}
        return [
            file
            for folder in sorted(folders)
            for file in sorted(folder.glob("*.json"))
            if str(file) not in self.used
            and not any(
                file.stem == stem or file.stem.startswith(f"{stem}-")
                for stem in kept.get(str(_module(folder)), ())
            )
        ]

    def remove(self, file: Path) -> None:
        """Remove a snapshot, and its folder if that is empty then.

        Raises:
            OSError: It cannot be removed.
        """
        file.unlink()
        if not any(file.parent.iterdir()):
            file.parent.rmdir()


def _folders(root: Path) -> Iterator[Path]:
    return (each for each in root.iterdir() if each.is_dir()) if root.is_dir() else iter(())


def _module(folder: Path) -> Path:
    """The test module whose snapshots are in a folder."""
    return folder.parent.parent / f"{folder.name}.py"


class RowSnapshot:
    """Compares rows with a snapshot; what the fixture `row_snapshot` gives.

    Args:
        folder: For the snapshots of the test's module.
        test: Its name, with its parameters.
        node: How pytest names it, for the message.
        use: Of the session.

    Attributes:
        node: As given.
    """

    def __init__(self, folder: Path, test: str, node: str, use: SnapshotUse) -> None:
        self._folder = folder
        self._test, self._use = test, use
        self.node: str = node

    def __call__(self, rows: Iterable[Mapping[str, Any]], name: str = "") -> None:
        """Compare rows with the snapshot of this test.

        Args:
            rows: Native values, in their order.
            name: Tells several snapshots of one test apart.

        Raises:
            AssertionError: They differ, there is no snapshot yet, another test has the same one, or it
                cannot be written.
            ConfigError: These are no rows, or a value has no text that stays the same, or none that
                a file can hold.
        """
        __tracebackhide__ = True
        text = _text([dict(row) for row in given_rows("row_snapshot", rows)])
        file = self._folder / f"{_stem(self._test, name)}.json"
        self._use.used.add(str(file))
        self._use.folders.add(str(self._folder))
        self._own(file, text)
        how = f'pytest "{self.node}" {_OPTION}'
        try:
            kept = file.read_text(encoding="utf-8") if file.exists() else None
        except ValueError as error:
            kept = f"not UTF-8: {error}"
        if self._use.update:
            if kept != text:
                _write(file, text)
            return
        if kept is None:
            raise AssertionError(f"there is no snapshot {file}. Make it with: {how}")
        try:
            expected = json.loads(kept)
        except ValueError as error:
            raise AssertionError(
                f"the snapshot {file} is not JSON ({error}): repair it, or write it anew with: {how}"
            ) from None
        try:
            assert_rows(json.loads(text), expected)
        except (AssertionError, TypeError) as error:
            raise AssertionError(f"{error}\nIf the new rows are right: {how}") from None

    def _own(self, file: Path, text: str) -> None:
        """Note whose a snapshot is. A test that runs again is another one of the same name."""
        other, before = self._use.owners.get(str(file), (self, text))
        runs_again = other is not self and other.node == self.node
        if before == text or runs_again:
            self._use.owners[str(file)] = self, text
            return
        whose = "this test has" if other is self else f"{other.node} has"
        raise AssertionError(
            f"{whose} other rows in the snapshot {file.name}: give one of them a name, e.g. "
            'row_snapshot(rows, "second")'
        )


def _stem(test: str, name: str = "") -> str:
    stem = _UNSAFE.sub("_", "-".join(filter(None, (test, name)))).strip("_")
    if len(stem.encode()) <= _MAX_STEM_BYTES:
        return stem
    digest = hashlib.sha256(stem.encode()).hexdigest()[:12]
    return f"{stem.encode()[: _MAX_STEM_BYTES - 13].decode('utf-8', 'ignore')}-{digest}"


def _write(file: Path, text: str) -> None:
    __tracebackhide__ = True
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise AssertionError(
            f"the snapshot {file} cannot be written: {error.strerror or error}"
        ) from None


def _text(rows: Sequence[Mapping[str, Any]]) -> str:
    """One block a row, keys in order; a value that JSON does not have says its type."""
    plain = [_plain(row) for row in rows]
    text = json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"row_snapshot: {short(text[error.start : error.end])} is half of a character, which no "
            "file can hold, and no STRING of BigQuery either"
        ) from None
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": bytes(value).hex()}
    text = value.isoformat() if hasattr(value, "isoformat") else _lasting_text(value)
    return {f"${type(value).__name__}": text}


def _lasting_text(value: Any) -> str:
    """The text of a value; not of one whose text is another one in the next process.

    Raises:
        ConfigError: It has none.
    """
    kind: Any = type(value)
    has_address = kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__
    if has_address or isinstance(value, (set, frozenset)):
        raise ConfigError(
            f"row_snapshot: {short(value)} has no text that stays the same: convert it before, e.g. to "
            "a str or a sorted list"
        )
    return str(value)
