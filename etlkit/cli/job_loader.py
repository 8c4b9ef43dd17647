"""The job that a command line names, imported or made of a file of SQL."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn, TypeAlias, TypeGuard, cast

from etlkit.api.datamart import Datamart
from etlkit.api.job import TransferJob
from etlkit.api.transform import EtlBase
from etlkit.engine.trocco import provide_etl_base
from etlkit.engine.user_modules import import_error, import_file
from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from etlkit.api.job_options import JobOptions
    from etlkit.api.run import Run
    from etlkit.api.sink import Sink
    from etlkit.api.source import Source
    from etlkit.variables.definitions import Value
    from etlkit.workflow.definition import Workflow

Job: TypeAlias = "TransferJob | Datamart | Workflow"


def load_job(target: str) -> tuple[str, Job]:
    """Import a job, or make a datamart of a file of SQL.

    Args:
        target: `package.module`, `package.module:name` or `path/to/file.py[:name]`; the name is
            `job` unless given. `path/to/file.sql` is a datamart in query mode.

    Returns:
        The job's name (its own, else the module's) and the job.

    Raises:
        ConfigError: No such module, the module raises, or it has no job of that name.
    """
    if target.endswith(".sql"):
        if not Path(target).is_file():
            raise ConfigError(f"no file {target}")
        return target, Datamart(file=target)
    place, _, attribute = target.partition(":")
    attribute = attribute or "job"
    module = import_module(place)
    job = getattr(module, attribute, None)
    if job is None:
        if attribute == "job" and _is_script(module):
            raise ConfigError(
                f"{place} is a script: it has a class Etl and no job. Run it with --script "
                f"{_file_of(place, module)} --source 'SELECT …' --sink DATASET.TABLE, or define "
                "job = TransferJob(…) in it"
            )
        names = [name for name, value in vars(module).items() if _is_job(value)]
        also = f"; it has {', '.join(names)}: use {place}:{names[0]}" if names else ""
        raise ConfigError(
            f"{place} has no {attribute!r}{also or ': define job = TransferJob(…) in it'}"
        )
    if not _is_job(job):
        raise ConfigError(
            f"{place}:{attribute} is a {type(job).__name__}; it must be a TransferJob, a "
            "Datamart or a Workflow"
        )
    own = _own_name(place, module)
    own = own if attribute == "job" else f"{own}:{attribute}"
    return job.name or own, job


def load_served(target: str) -> tuple[str, TransferJob]:
    """Import a transfer, or make one of an Etl that has neither source nor sink.

    Args:
        target: As in `load_job`; the name may be that of a class, e.g. `transforms.shout:Etl`.

    Returns:
        The name and the transfer.

    Raises:
        ConfigError: As in `load_job`, or it is another kind of job.
    """
    if not target.endswith(".sql"):
        place, _, attribute = target.partition(":")
        attribute, module = attribute or "job", import_module(place)
        found = getattr(module, attribute, None)
        if found is None and attribute == "job" and _is_script(module):
            found = module.Etl
        if isinstance(found, type) and issubclass(found, EtlBase):
            return _own_name(place, module), TransferJob(
                source=_Nowhere(), transform=found, sink=cast("Sink", _Nowhere())
            )
    name, job = load_job(target)
    if not isinstance(job, TransferJob):
        raise ConfigError(
            f"{target} is a {type(job).__name__}; a remote function is made of a TransferJob or an Etl"
        )
    return name, job


class _Nowhere:
    """Stands for the source and the sink of an Etl without a job."""

    fingerprint = ""

    def expand(self, _values: Mapping[str, Value]) -> tuple[Source, frozenset[str]]:
        return self, frozenset()

    def open(self, _job: JobOptions, _run: Run) -> NoReturn:
        raise ConfigError(
            "an Etl alone does not say which columns it gets: add --columns 'uri STRING, …'"
        )


def import_module(place: str) -> ModuleType:
    """Import a module of the user's.

    Args:
        place: `package.module` or `path/to/file.py`.

    Raises:
        ConfigError: There is no such module, or it raises.
    """
    # `python -m` puts the working directory first; the command `etlkit`, a console or a test does not.
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    provide_etl_base()
    return _import(place)


def is_workflow(job: object) -> TypeGuard[Workflow]:
    """Whether a job is a workflow. Workflows are not imported to find that out."""
    definition = sys.modules.get("etlkit.workflow.definition")  # it is there if there is a workflow
    return definition is not None and isinstance(job, definition.Workflow)


def _is_job(value: object) -> TypeGuard[Job]:
    return isinstance(value, (TransferJob, Datamart)) or is_workflow(value)


def _is_script(module: ModuleType) -> bool:
    etl = getattr(module, "Etl", None)
    has_job = any(_is_job(value) for value in vars(module).values())
    return isinstance(etl, type) and issubclass(etl, EtlBase) and not has_job


def _file_of(place: str, module: ModuleType) -> str:
    return place if place.endswith(".py") else str(module.__file__)


def _own_name(place: str, module: ModuleType) -> str:
    """Name a job after its module; a file outside of the working directory after the file."""
    path = Path(place)
    in_package = "." in module.__name__
    return path.stem if path.suffix == ".py" and not in_package else module.__name__


def _import(place: str) -> ModuleType:
    if not place:
        raise ConfigError("name a job: package.module, package.module:name or a path to a .py file")
    path = Path(place)
    if path.suffix == ".py" or "/" in place:
        return _import_path(path)
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{place}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"no module {error.name!r} under {Path.cwd().name}/ or on PYTHONPATH"
                + _did_you_mean(place, error.name)
            ) from error
        raise import_error(place, error) from error
    except Exception as error:
        raise import_error(place, error) from error


def _did_you_mean(place: str, missing: str) -> str:
    """A hint for a missing module: a file of that path, or a module with a similar name."""
    if Path(f"{place}.py").exists():
        return f"; did you mean the file {place}.py?"
    package, _, name = missing.rpartition(".")
    path = getattr(sys.modules.get(package), "__path__", () if package else [str(Path.cwd())])
    names = [module.name for module in pkgutil.iter_modules(path)]
    similar = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {package}{'.' if package else ''}{similar[0]}?" if similar else ""


def _import_path(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"no file {path}")
    # Under the working directory a file is imported by its dotted name, so that other processes
    # find its classes under the same one.
    try:
        parts = path.resolve().relative_to(Path.cwd().resolve()).with_suffix("").parts
    except ValueError:
        parts = ()
    if parts and all(part.isidentifier() for part in parts):
        return _import(".".join(parts))
    return import_file(path)
