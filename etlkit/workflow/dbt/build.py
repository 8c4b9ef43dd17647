"""`DbtBuild`: a dbt project as a task of a workflow."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from etlkit.api.workflow_report import TaskKind, TaskReport, TaskState
from etlkit.errors import ConfigError, JobError
from etlkit.workflow.dbt.manifest import MANIFEST, TARGET, manifest_tables, project_files
from etlkit.workflow.dbt.process import DbtProcess
from etlkit.workflow.dbt.profile import PROFILE, write_profile
from etlkit.workflow.task_kind import Runnable, Tables, TaskContext, short_hash
from etlkit.workflow.texts import Filler, names_in

log: logging.Logger = logging.getLogger("etlkit.workflow")

_DATASET = re.compile(r"(?:[\w.:-]+\.)?[\w$]+", re.ASCII)
_TARGET_NAME = re.compile(r"\w+", re.ASCII)
_KEPT = (MANIFEST, "partial_parse.msgpack")
"""What a build leaves in the project: the second one makes the next parse faster."""

_STATES: Mapping[str, TaskState] = {
    "success": "succeeded",
    "pass": "succeeded",  # a word of dbt
    "warn": "succeeded",
    "no-op": "succeeded",
    "skipped": "not_run",
}
"""Every other status of dbt is a failure: `error`, `fail`, `runtime error`, `partial success`."""

_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
_SHOWN_FAILURES = 3


@dataclass(frozen=True)
class DbtBuild(Runnable):
    """Run `dbt build` over a project: its seeds, models, snapshots and tests in their own order.

    dbt (the extra `dbt`) runs in a process of its own, against the BigQuery of the workflow: the local
    one with `--local`, else with the application default credentials. A profile is made for each run;
    the project needs none. The task fails if a model or a test does. Models and tests are the task's
    `children` in its report.

    Attributes:
        project_dir: The folder of `dbt_project.yml`.
        dataset: The dataset of the models, `dataset` or `project.dataset`, with `$name$` for
            variables; made if missing.
        select: Which nodes, in dbt's syntax; empty = all.
        exclude: Which of them not.
        vars: dbt's `var('name')`: JSON values, with `$name$` for the workflow's variables.
        target: What `target.name` is in the project.
        threads: Models that are built at once.
        full_refresh: Build incremental models and seeds anew.
        maximum_bytes_billed: BigQuery refuses a statement rather than bill more; None = no limit.
        python: An interpreter that has dbt-bigquery, e.g. of a virtual environment of its own; None =
            the one that runs etlkit.

    See https://docs.getdbt.com/reference/commands/build
    """

    project_dir: str | Path
    dataset: str
    select: str | Sequence[str] = field(default=(), kw_only=True)
    exclude: str | Sequence[str] = field(default=(), kw_only=True)
    vars: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    target: str = field(default="etlkit", kw_only=True)
    threads: int = field(default=4, kw_only=True)
    full_refresh: bool = field(default=False, kw_only=True)
    maximum_bytes_billed: int | None = field(default=None, kw_only=True)
    python: str | Path | None = field(default=None, kw_only=True)

    kind: ClassVar[TaskKind] = "dbt"

    def __post_init__(self) -> None:
        """Raise for wrong values that can be found without any I/O."""
        if not isinstance(self.dataset, str) or not _DATASET.fullmatch(self.dataset):
            raise ConfigError(
                f"DbtBuild(dataset={self.dataset!r}): write dataset or project.dataset, with letters, "
                "digits and underscores"
            )
        if not isinstance(self.target, str) or not _TARGET_NAME.fullmatch(self.target):
            raise ConfigError(f"DbtBuild(target={self.target!r}): it has letters, digits and _")
        if not isinstance(self.threads, int) or self.threads < 1:
            raise ConfigError(f"DbtBuild(threads={self.threads!r}): it is 1 or more")
        for name in ("select", "exclude"):
            for each in _listed(getattr(self, name)):
                if not isinstance(each, str) or not each or each.startswith("-"):
                    raise ConfigError(f"DbtBuild({name}=…) has {each!r}; give names, e.g. 'tag:x'")
        try:
            json.dumps(dict(self.vars))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"DbtBuild(vars=…) takes JSON values: {error}") from error

    def tables(self, variables: Mapping[str, Any] | None = None) -> Tables:  # noqa: ARG002 - of SQL
        """The tables of the manifest that the last `dbt build` or `dbt parse` left in the project."""
        return manifest_tables(Path(self.project_dir))

    def used_variables(self) -> frozenset[str]:
        """The variables in `vars` and `dataset`."""
        return frozenset(names_in([dict(self.vars), self.dataset]))

    def fingerprint(self) -> str:
        """Changes with the options and with every file of the project."""
        files = project_files(Path(self.project_dir))
        return short_hash(repr(self), *(f"{file}\0{file.read_bytes()!r}" for file in files))

    def run(self, context: TaskContext, /) -> None:
        """Build."""
        self._run("build", context)

    def dry_run(self, context: TaskContext, /) -> bool:
        """Let dbt read the project; BigQuery is not asked, and no cost is known."""
        self._run("parse", context)
        return True

    def _run(self, command: str, context: TaskContext) -> None:
        project = Path(self.project_dir).resolve()
        if not (project / "dbt_project.yml").is_file():
            raise ConfigError(f"there is no dbt_project.yml in {self.project_dir}")
        context.report.details["project"] = str(self.project_dir)
        filler = Filler(context.variables, context.settings.environ)
        options = {"threads": self.threads, "maximum_bytes_billed": self.maximum_bytes_billed}
        given = {name: value for name, value in options.items() if value is not None}
        with _work_folder(project) as folder:
            dataset = filler.text(self.dataset)
            write_profile(folder, context.settings, dataset, self.target, given)
            arguments = self._arguments(command, project, folder, filler.json(dict(self.vars)))
            environ = {**os.environ, **context.settings.environ}
            with DbtProcess(str(self.python or sys.executable), arguments, environ) as process:
                context.on_stop(lambda _signum: process.stop())
                _Outcome(context).read(process)

    def _arguments(self, command: str, project: Path, folder: Path, values: Any) -> list[str]:
        """The arguments of dbt."""
        arguments = ["--no-use-colors", "--no-send-anonymous-usage-stats", command]
        arguments += ["--project-dir", str(project), "--profiles-dir", str(folder)]
        arguments += ["--profile", PROFILE, "--target", self.target]
        arguments += ["--target-path", str(folder / TARGET), "--log-path", str(folder / "logs")]
        arguments += ["--vars", json.dumps(values)]
        if command == "build":
            for option in ("select", "exclude"):
                if chosen := _listed(getattr(self, option)):
                    arguments += [f"--{option}", *chosen]
            arguments += ["--full-refresh"] if self.full_refresh else []
        return arguments


@contextmanager
def _work_folder(project: Path) -> Iterator[Path]:
    """A folder for the files of one run, so that several runs of one project do not meet.

    The manifest is taken from the project, which makes parsing faster, and put back afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="etlkit-dbt-") as name:
        folder = Path(name)
        _copy(project / TARGET, folder / TARGET)
        try:
            yield folder
        finally:
            _copy(folder / TARGET, project / TARGET)


def _copy(source: Path, target: Path) -> None:
    try:
        target.mkdir(exist_ok=True)
        for name in _KEPT:
            if (source / name).is_file():
                new = target / f"{name}.{os.getpid()}.new"
                shutil.copyfile(source / name, new)
                new.replace(target / name)
    except OSError as error:  # e.g. a read-only image: the next run parses anew
        log.debug("dbt's manifest was not kept in %s: %s", target, error)


class _Outcome:
    """Turns what dbt tells into the task's report."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._names: dict[str, str] = {}
        self._failed: list[str] = []
        self._skipped = 0
        self._error: str | None = None

    def read(self, process: DbtProcess) -> None:
        """Read until dbt ends.

        Raises:
            Interrupted: The task was asked to stop.
            JobError: A model or a test failed, or dbt itself did.
        """
        success = False
        try:
            for answer in process.answers():
                if answer["event"] == "result":
                    self._add(answer)
                elif answer["event"] == "done":
                    success, self._error = answer["success"], answer["error"]
                else:
                    self._show(answer)
        except JobError:
            self._interrupt_children()
            self._context.check_stop()  # it ended because it had to
            raise
        self._interrupt_children()
        self._context.check_stop()
        self._total()
        if not success:
            raise JobError(self._message())

    def _show(self, answer: Mapping[str, Any]) -> None:
        """Show a node as soon as it begins."""
        if answer["event"] == "started":
            name = self._name(answer)
            self._context.child_changed(TaskReport(name=name, kind="dbt", state="running"))

    def _name(self, answer: Mapping[str, Any]) -> str:
        """A node's own name, or the one that dbt makes unique if another node has it."""
        identity, name = str(answer["id"]), str(answer["name"])
        taken = {other for key, other in self._names.items() if key != identity}
        return self._names.setdefault(identity, identity if name in taken else name)

    def _add(self, result: Mapping[str, Any]) -> None:
        """Put how a node ended into the report."""
        name = self._name(result)
        status, message = str(result["status"]), _readable(result["message"] or "")
        state = _STATES.get(status, "failed")
        child = TaskReport(name=name, kind="dbt", state=state, attempts=int(state != "not_run"))
        child.seconds = round(result["seconds"] or 0.0, 3)
        child.started_at, child.finished_at = result["started_at"], result["finished_at"]
        child.after = dict.fromkeys(map(str, result["depends_on"]), "")
        child.bytes_billed = result["bytes_billed"]
        child.details = {"type": str(result["type"]), "status": status, "file": result["file"]}
        if "test" in result["type"]:
            child.value = result["failures"]
        else:
            child.rows = result["rows"]
            child.target = (result["relation"] or "").replace("`", "")
            child.details["materialized"] = str(result["materialized"])
        if message:
            child.details["message"] = message
        if state == "failed":
            child.error = message or status
            self._failed.append(
                f"{result['type']} {result['name']}: {' '.join(child.error.split())}"
            )
        self._skipped += state == "not_run"
        self._context.child_changed(child)

    def _interrupt_children(self) -> None:
        """Nodes without a result were running when dbt ended."""
        for child in self._context.report.children:
            if child.state == "running":
                self._context.child_changed(replace(child, state="interrupted"))

    def _total(self) -> None:
        report = self._context.report
        for child in report.children:
            child.after = {self._names[each]: "" for each in child.after if each in self._names}
        billed = [child.bytes_billed for child in report.children if child.bytes_billed is not None]
        rows = [child.rows for child in report.children if child.rows is not None]
        report.bytes_billed = sum(billed) if billed else None
        report.rows = sum(rows) if rows else None

    def _message(self) -> str:
        if not self._failed:
            return f"dbt failed: {_readable(self._error or 'it did not say why')}"
        shown = "\n".join(f"- {each}" for each in self._failed[:_SHOWN_FAILURES])
        more = len(self._failed) - _SHOWN_FAILURES
        skipped = f", {self._skipped} after them were skipped" if self._skipped else ""
        return (
            f"dbt: {len(self._failed)} of {len(self._context.report.children)} nodes failed{skipped}:\n"
            + shown
            + (f"\n- and {more} more" if more > 0 else "")
        )


def _readable(message: str) -> str:
    """A message without colors and without the place of compiled code, which is gone."""
    lines = _ESCAPES.sub("", message).splitlines()
    return "\n".join(line for line in lines if "compiled code at" not in line).strip()


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
