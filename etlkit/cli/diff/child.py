"""The process that runs the other version: its modules have the same names as those of this one."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import etlkit
from etlkit.errors import ConfigError, EtlkitError, JobError

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.cli.diff.old_code import OldCode
    from etlkit.engine.side import Side
    from etlkit.rows.columns import Column

_BOOT = (
    "import sys; home = sys.argv[1]; sys.path.insert(0, home); import etlkit.cli.diff.child as child; "
    "sys.path.remove(home); child.main(sys.argv[2])"
)
"""etlkit itself is this process's one, also where the other version has another beside it."""

_OLD = "old.json"


def run_child(code: OldCode, folder: Path, order: Mapping[str, Any]) -> Side:
    """Run the other version over rows that are in a folder.

    Args:
        code: The other version.
        folder: Has what `write_rows` made; gets the recording and the outcome.
        order: What to run, as JSON values; see `_work`.

    Raises:
        ConfigError: The other version cannot be imported, or not be run over these rows.
        JobError: It failed.
    """
    from etlkit.engine.side import Side

    given = {
        **order,
        "folder": str(folder),
        "path": code.path,
        "file": code.file,
        "tree": None if code.tree is None else str(code.tree),
        "here": str(code.folder),
    }
    (folder / "order.json").write_text(json.dumps(given), encoding="utf-8")
    home = str(Path(etlkit.__path__[0]).parent)
    done = subprocess.run(  # noqa: S603 - this interpreter, with code of ours  # nosec B603
        [sys.executable, "-c", _BOOT, home, str(folder)],
        cwd=code.folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(code.path)},
        stdout=sys.stderr.fileno() if _has_file(sys.stderr) else subprocess.DEVNULL,
        check=False,
    )
    outcome = folder / _OLD
    if not outcome.is_file():
        raise JobError(f"the process of {code.shown} ended with status {done.returncode}")
    made = json.loads(outcome.read_text(encoding="utf-8"))
    if made.get("error") is not None:
        kind = ConfigError if made["is_config"] else JobError
        raise kind(f"the code of {code.shown}: {made['error']}")
    return Side.from_json(made)


def _has_file(stream: Any) -> bool:
    try:
        stream.fileno()
    except (OSError, ValueError, AttributeError):
        return False
    return True


def main(folder: str) -> None:
    """Run the other version; the outcome, also an error, is in the folder."""
    from etlkit.cli.logs import configure_logging

    configure_logging(logging.WARNING)
    order = json.loads((Path(folder) / "order.json").read_text(encoding="utf-8"))
    for entry in reversed(order["path"]):
        sys.path[:] = [entry, *(each for each in sys.path if each != entry)]
    made: dict[str, Any]
    try:
        made = _work(order).to_json()
        _refuse_mixed(order)
    except EtlkitError as error:
        made = {"error": str(error), "is_config": isinstance(error, ConfigError)}
    target = Path(folder) / _OLD
    target.with_suffix(".part").write_text(json.dumps(made), encoding="utf-8")
    target.with_suffix(".part").rename(target)


def _work(order: dict[str, Any]) -> Side:
    from etlkit.calls.recording import Recording
    from etlkit.cli.diff.versions import expanded
    from etlkit.cli.options import chosen_settings
    from etlkit.engine.side import run_side

    folder = Path(order["folder"])
    job = _job(order)
    options = order["options"]
    options["local_dir"] = Path(options["local_dir"])
    with chosen_settings(options) as settings:
        now, queued_at = (datetime.fromisoformat(order[name]) for name in ("now", "queued_at"))
        job, request = expanded(job, order["name"], settings, order["variables"], now, queued_at)
        recording = Recording(folder / "answers.db", replays=False)
        try:
            return run_side(job, request, read_rows(folder), recording)
        finally:
            recording.close()


def _job(order: dict[str, Any]) -> TransferJob:
    from etlkit.cli.diff.versions import job_of, job_of_file

    job = job_of(order["target"], order["script"])
    return job if order["file"] is None else job_of_file(order["file"], order["target"], job)


def _refuse_mixed(order: dict[str, Any]) -> None:
    """Raise if a module of the working tree was imported: it would be new code on the old side."""
    if order["tree"] is None:
        return
    tree, own = Path(order["tree"]), Path(etlkit.__path__[0]).resolve()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str):
            continue
        path = Path(file).resolve()
        is_installed = "site-packages" in path.parts or path.is_relative_to(own)
        is_python = path.is_relative_to(Path(sys.prefix).resolve())
        if path.is_relative_to(tree) and not is_installed and not is_python:
            raise ConfigError(
                f"it imports {name} from the working tree ({path.relative_to(tree)}), which was not "
                "there then: the comparison would mix old and new code"
            )


def write_rows(
    folder: Path, columns: tuple[Column, ...], batches: list[Any], table: str | None
) -> None:
    """Write frozen rows for the process."""
    import pyarrow as pa

    about = {"columns": [asdict(column) for column in columns], "table": table}
    (folder / "rows.json").write_text(json.dumps(about), encoding="utf-8")
    if batches:
        path = str(folder / "rows.arrow")
        with pa.OSFile(path, "wb") as file, pa.ipc.new_file(file, batches[0].schema) as writer:
            for batch in batches:
                writer.write_batch(batch)


def read_rows(folder: Path) -> Any:
    """The frozen rows that `write_rows` has written, as `etlkit.engine.side.FrozenRows`."""
    import pyarrow as pa

    from etlkit.engine.side import FrozenRows

    about = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    batches = []
    if (folder / "rows.arrow").is_file():
        with pa.OSFile(str(folder / "rows.arrow"), "rb") as file, pa.ipc.open_file(file) as reader:
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    return FrozenRows(tuple(map(_column, about["columns"])), batches, about["table"])


def _column(made: dict[str, Any]) -> Column:
    from etlkit.rows.columns import Column

    fields = tuple(map(_column, made["fields"]))
    return Column(**{**made, "fields": fields, "parameters": tuple(made["parameters"])})
