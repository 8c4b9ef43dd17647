"""Which results of earlier runs count for a run of a job."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from etlkit.api.reuse import Reuse, parse_keys
from etlkit.api.transform import EtlBase
from etlkit.engine.code_files import digest
from etlkit.errors import ConfigError

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.api.run import RunRequest
    from etlkit.engine.transform_spec import TransformSpec
    from etlkit.rows.columns import Column

log: logging.Logger = logging.getLogger("etlkit")

_NO_PARAMETERS = frozenset({"max_concurrency", "batch_size", "units_per_row"})
"""Attributes that decide how calls are made, and not what comes of them."""


def plan_reuse(
    job: TransferJob, spec: TransformSpec, request: RunRequest, source: tuple[Column, ...]
) -> Reuse | None:
    """Which results count; None = none do: the job has no `reuse`, or it runs rejected rows again.

    Args:
        job: What is run.
        spec: Its transform.
        request: For `fresh` and `reuse_across_code`.
        source: The source's columns.

    Raises:
        ConfigError: A key is not among them, or the transform is in no file.
    """
    names = parse_keys(job.reuse)
    if not names:
        if request.fresh or request.reuse_across_code:
            option = "fresh" if request.fresh else "reuse across code"
            raise ConfigError(f"{option} needs a job that keeps results: TransferJob(reuse=…)")
        return None
    if request.fresh and request.resume is not None:
        raise ConfigError("fresh begins a new run: a run that is resumed keeps what it has taken")
    if request.retry_of is not None:
        return None
    if unknown := [name for name in spec.code if name.startswith("<")]:
        raise ConfigError(
            f"reuse needs a transform that is written in a file, and {unknown[0]} is not: nobody could "
            "tell whether its code has changed since the results were made"
        )
    read = spec.read_columns(source)
    keys = _chosen(names, source) if isinstance(names, tuple) else read
    declared = spec.output_schema
    passing = [column for column in source if column not in read]
    if declared is not None:
        passing = [column for column in declared if column.name in {c.name for c in passing}]
    return Reuse(
        keys=keys,
        passing=tuple(passing),
        code=digest(json.dumps(spec.code, sort_keys=True).encode()),
        parameters=digest(repr(_parameters(job, spec, keys)).encode()),
        job=request.results_of or request.job_name,
        days=job.reuse_days,
        is_fresh=request.fresh,
        across_code=request.reuse_across_code,
        keeps_skipped=job.on_row_error != "skip",
    )


def warn_of_other_columns(reuse: Reuse, spec: TransformSpec, source: tuple[Column, ...]) -> None:
    """Say which values of known rows may be old: the transform reads them, and they are no keys."""
    keys = {column.name for column in reuse.keys}
    other = [column.name for column in spec.read_columns(source) if column.name not in keys]
    if other:
        log.info(
            "note: known rows keep %s as of then: the transform reads it, and reuse does not name it",
            ", ".join(other),
        )


def _chosen(names: tuple[str, ...], source: tuple[Column, ...]) -> tuple[Column, ...]:
    if missing := set(names) - {column.name for column in source}:
        raise ConfigError(
            f"reuse names {', '.join(sorted(missing))}, but the source has only "
            + ", ".join(column.name for column in source)
        )
    return tuple(column for name in names for column in source if column.name == name)


def _parameters(job: TransferJob, spec: TransformSpec, keys: tuple[Column, ...]) -> list[Any]:
    declared = spec.output_schema or ()
    return [
        sorted((column.name, column.ddl) for column in keys),
        [column.definition for column in declared],
        job.on_schema_change,
        sorted(attributes(spec.kind, spec.made).items()),
    ]


def attributes(kind: type[EtlBase], made: EtlBase | None) -> dict[str, str]:
    """The values of a transform's attributes, those of its classes and of an instance, as texts.

    Lists and dicts of classes are left out: they are caches that fill up, or written in the code.

    Args:
        kind: Its class.
        made: What a factory has made; None = there is no factory.
    """
    found: dict[str, Any] = {}
    for each in reversed(kind.__mro__[: kind.__mro__.index(EtlBase)]):
        found |= {n: v for n, v in vars(each).items() if not isinstance(v, (list, dict, set))}
    found |= {} if made is None else vars(made)
    return {
        name: stable_text(value)
        for name, value in found.items()
        if not name.startswith(("__", "_abc_"))
        and name not in _NO_PARAMETERS
        and not (callable(value) or hasattr(type(value), "__get__"))
    }


def stable_text(value: Any) -> str:
    """A text that is the same in every process; objects that have none are known by their class."""
    if value is None or type(value) in {bool, int, float, str, bytes}:
        return repr(value)
    name, inner = f"{type(value).__module__}.{type(value).__qualname__}", []
    if isinstance(value, Enum):
        inner = [value.name]
    elif isinstance(value, Mapping):
        inner = sorted(f"{stable_text(key)}: {stable_text(each)}" for key, each in value.items())
    elif isinstance(value, (set, frozenset)):
        inner = sorted(map(stable_text, value))
    elif isinstance(value, (list, tuple)):
        inner = list(map(stable_text, value))
    elif is_dataclass(value):
        inner = [f"{f.name}={stable_text(getattr(value, f.name))}" for f in fields(value)]
    return f"{name}({', '.join(inner)})"
