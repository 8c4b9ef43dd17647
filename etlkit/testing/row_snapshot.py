"""Snapshots of rows: what a transform gave is kept in a file beside the test, readable in a diff."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from etlkit.testing.row_comparison import assert_rows

FOLDER: Final = "row_snapshots"

_UNSAFE: Final = re.compile(r"[^\w.-]+")


@dataclass
class SnapshotUse:
    """Which snapshots the tests of a session have used.

    Attributes:
        update: Write them instead of comparing.
        used: Their files.
        folders: Folders of the test modules that used one.
    """

    update: bool
    used: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)

    def unused(self) -> list[Path]:
        """Files that no test has used, of the modules that used one."""
        files = [file for folder in sorted(self.folders) for file in Path(folder).glob("*.json")]
        return [file for file in sorted(files) if str(file) not in self.used]


class RowSnapshot:
    """Compares rows with a snapshot; what the fixture `row_snapshot` gives.

    Args:
        module: File of the test.
        test: Its name, with its parameters.
        node: How pytest names it, for the message.
        use: Of the session.
    """

    def __init__(self, module: Path, test: str, node: str, use: SnapshotUse) -> None:
        self._folder = module.parent / FOLDER / module.stem
        self._test, self._node, self._use = test, node, use

    def __call__(self, rows: Iterable[Mapping[str, Any]], name: str = "") -> None:
        """Compare rows with the snapshot of this test.

        Args:
            rows: Native values, in their order.
            name: Tells several snapshots of one test apart.

        Raises:
            AssertionError: They differ, or there is no snapshot yet.
        """
        stem = _UNSAFE.sub("_", "-".join(filter(None, (self._test, name)))).strip("_")
        file = self._folder / f"{stem}.json"
        self._use.used.add(str(file))
        self._use.folders.add(str(self._folder))
        text = _text([dict(row) for row in rows])
        if self._use.update:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            return
        how = f'pytest "{self._node}" --update-snapshots'
        if not file.exists():
            raise AssertionError(f"there is no snapshot {file}. Make it with: {how}")
        try:
            assert_rows(json.loads(text), json.loads(file.read_text(encoding="utf-8")))
        except AssertionError as error:
            raise AssertionError(f"{error}\nIf the new rows are right: {how}") from None


def _text(rows: Sequence[Mapping[str, Any]]) -> str:
    """One block a row, keys in order; a value that JSON does not have says its type."""
    plain = [_plain(row) for row in rows]
    return json.dumps(plain, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


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
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return {f"${type(value).__name__}": text}
