"""The jobs that a check names: modules, files of SQL, and all that is in a folder."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etlkit.api.datamart import Datamart
from etlkit.cli.job_loader import load_job
from etlkit.errors import ConfigError
from etlkit.sql_check.jobs import LoadedJob
from etlkit.sql_check.python_literals import parse_module
from etlkit.workflow.definition import Workflow

_DBT = "a dbt project: dbt compiles its models itself"


@dataclass
class Found:
    """What the targets of a check are.

    Attributes:
        jobs: All jobs, each once.
        problems: Files of a folder that cannot be read as jobs, with what is wrong.
        skipped: What is left out, with the reason.
    """

    jobs: list[LoadedJob] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def jobs_in(targets: Sequence[str]) -> Found:
    """Load all jobs that the user named.

    Raises:
        ConfigError: Targets that do not exist or are no jobs, one a line.
    """
    found, wrong = Found(), []
    for target in dict.fromkeys(targets):
        try:
            if Path(target).is_dir():
                _add_folder(found, Path(target))
            else:
                _add(found, target)
        except ConfigError as error:
            wrong.append(str(error))
    if wrong:
        raise ConfigError("\n".join(wrong))
    _leave_out_texts_of_jobs(found, {str(Path(target)) for target in targets})
    if not found.jobs and not found.problems:
        raise ConfigError(f"there is no job in {', '.join(targets)}")
    return found


def _add(found: Found, target: str) -> None:
    name, job = load_job(target)
    file = _file_of(target)
    if not any(each.name == name for each in found.jobs):
        found.jobs.append(LoadedJob(name, job, file))


def _file_of(target: str) -> Path | None:
    """The file of a job that was just loaded."""
    place = target.partition(":")[0]
    if Path(place).is_file():
        return Path(place)
    module = sys.modules.get(place)
    file = None if module is None else inspect.getsourcefile(module)
    return None if file is None else shown(Path(file))


def shown(file: Path) -> Path:
    """A file as people write it: from the working directory if it is below it."""
    try:
        return file.resolve().relative_to(Path.cwd().resolve())
    except ValueError:
        return file


def _add_folder(found: Found, folder: Path) -> None:
    """Add the jobs of a folder: modules that have a `job`, and files of SQL."""
    for file in _files(folder, found):
        try:
            if file.suffix == ".sql" or _defines_job(file):
                _add(found, str(file))
        except ConfigError as error:
            found.problems[str(file)] = str(error)


def _files(folder: Path, found: Found) -> Iterator[Path]:
    if (folder / "dbt_project.yml").is_file():
        found.skipped[str(folder)] = _DBT
        return
    for each in sorted(folder.iterdir()):
        if each.name.startswith((".", "__pycache__")):
            continue
        if each.is_dir():
            yield from _files(each, found)
        elif each.suffix in {".sql", ".py"}:
            yield each


def _defines_job(file: Path) -> bool:
    """Whether a module has a `job`; others of a folder are helpers, and are not imported."""
    try:
        tree = parse_module(file.read_text(encoding="utf-8"))
    except ValueError:
        return True
    if tree is None:
        return True  # importing it says what is wrong
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        if any(isinstance(each, ast.Name) and each.id == "job" for each in targets):
            return True
    return False


def _leave_out_texts_of_jobs(found: Found, named: set[str]) -> None:
    """Leave out files of SQL that a datamart of the same check runs, unless the user named them."""
    files = {path.resolve() for job in found.jobs for path in _texts(job.job, job.name)}
    found.jobs = [
        each
        for each in found.jobs
        if not (
            isinstance(each.job, Datamart)
            and each.name == str(each.job.file)
            and str(Path(each.name)) not in named
            and Path(each.name).resolve() in files
        )
    ]


def _texts(job: object, name: str) -> Iterator[Path]:
    if isinstance(job, Workflow):
        for task in job.tasks:
            yield from _texts(task.run, "")
    elif isinstance(job, Datamart) and job.file is not None and name != str(job.file):
        yield job.path or Path(job.file)
