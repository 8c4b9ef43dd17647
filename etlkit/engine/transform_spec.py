"""What the engine knows about a transform before the first row."""

from __future__ import annotations

import inspect
import json
from functools import cached_property
from typing import TYPE_CHECKING

from etlkit._version import __version__
from etlkit.api.transform import EtlBase, overrides_arrow, overrides_batch
from etlkit.api.user_errors import user_error_text
from etlkit.engine.code_files import bounded, code_digests, digest
from etlkit.engine.touched_keys import hook_of, touched_keys
from etlkit.errors import ConfigError, EtlkitError, JobError
from etlkit.rows.columns import parse_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from etlkit.api.job import TransferJob
    from etlkit.api.source import Source
    from etlkit.rows.columns import Column

_CHUNK_ROWS = 8192
"""Rows that one worker takes at once where it is the only one: handing over rows costs as much as
running some hundred fast ones."""

_SHARED_CHUNK_ROWS = 512
"""Rows that several workers share."""


QUERY = "the query"
"""Stands for the source among the parts of a fingerprint."""

MAX_PARKED_THREADS = 128
"""Parked rows of an Etl whose hooks are not async. Each is a thread with an instance of its own, so
that one costs what `before_action` makes, beside about 0.05 MB and 1 ms. Of 16 calls in flight of
20 ms, of which one in 40 is told to wait a second, 20 are parked."""


MAX_PARKED_TASKS = 10_000
"""Parked rows of an Etl whose hooks are async. One costs its coroutine, some kilobytes."""

MAX_TASKS = 10_000
"""Rows at work where the hooks are async. A process may have few more connections open."""

MAX_THREADS = 1_000
"""Rows at work where they are not. Measured, 256 threads are slower than 64 already."""


class TransformSpec:
    """What the engine knows about a transform before the first row.

    Attributes:
        kind: The transform's class.
        made: What its factory has made; None = it has none.
        make_worker: Makes the instance of a worker.

    Raises:
        ConfigError: A class attribute is out of range or names no type.
    """

    def __init__(self, job: TransferJob) -> None:
        self.make = self.make_worker = job.transform
        # A factory is called once here: what its product declares comes from the class.
        self.made: EtlBase | None = (
            None if isinstance(job.transform, type) else _made_by(job.transform)
        )
        etl = job.transform if isinstance(job.transform, type) else type(self.made)
        self.kind = etl
        if not issubclass(etl, EtlBase):
            raise ConfigError(
                f"transform made a {etl.__name__}: it must make instances of etlkit.EtlBase"
            )
        self.is_async: bool = _is_async(etl)
        self.max_concurrency: int = job.max_concurrency or _positive(etl, "max_concurrency")
        _refuse_too_many(self.max_concurrency, is_async=self.is_async)
        self._declared_parked = etl.max_parked
        if self._declared_parked not in {None, 0}:
            _positive(etl, "max_parked")
        self.batch_size: int = _positive(etl, "batch_size")
        self.units_per_row: int = _positive(etl, "units_per_row")
        self.batched: bool = overrides_batch(etl)
        self.is_arrow: bool = overrides_arrow(etl)
        self.columns = etl.columns
        if isinstance(self.columns, str):
            raise ConfigError(f"{etl.__name__}.columns is a str; write ({self.columns!r},)")
        schema = etl.output_schema
        self.output_schema = None if schema is None else parse_schema(schema)

    @cached_property
    def code(self) -> dict[str, str]:
        """Digests of the user's files that the transform is made of; see `code_digests`."""
        made_by = getattr(self.make, "func", self.make)  # of a functools.partial
        found = code_digests([self.kind, *([] if made_by is self.kind else [made_by])])
        ours = [each for each in self.kind.__mro__ if each.__module__.startswith("etlkit.")]
        # What a base of etlkit's own makes of a row may change with the version.
        return found if ours == [EtlBase] else {**found, "etlkit": __version__}

    def parts(self, source: Source) -> dict[str, str]:
        """What the fingerprint is made of: digests by path, and that of the query."""
        return {**bounded(self.code), QUERY: digest(source.fingerprint.encode())}

    def fingerprint(self, source: Source) -> str:
        """A text that changes with the transform's code or the source's query.

        Whole files count: a helper beside the class matters as much as the class.
        """
        return digest(json.dumps({**self.code, **self.parts(source)}, sort_keys=True).encode())

    def read_columns(self, source: tuple[Column, ...]) -> tuple[Column, ...]:
        """The source columns that rows will have, in the source's order.

        Raises:
            ConfigError: The transform declares a column that the source does not have.
        """
        if self.columns is None:
            return source
        missing = set(self.columns) - {column.name for column in source}
        if missing:
            raise ConfigError(
                f"the transform reads {', '.join(sorted(missing))}, but the source has only "
                + ", ".join(column.name for column in source)
            )
        return tuple(column for column in source if column.name in set(self.columns))

    def decoded_columns(self, source: tuple[Column, ...]) -> tuple[Column, ...]:
        """The source columns whose values rows need, in the source's order; the others pass through.

        Fewer than `read_columns` only if the transform's code shows that nobody can tell.

        Raises:
            ConfigError: As `read_columns`.
        """
        touched = self._touched
        if touched is None:
            return self.read_columns(source)
        declared = {column.name: column.ddl for column in self.output_schema or source}
        found = tuple(c for c in source if c.name in touched or declared.get(c.name) != c.ddl)
        return found or source[:1]  # a row needs a value, or nobody knows how many rows there are

    @cached_property
    def _touched(self) -> frozenset[str] | None:
        if self.columns is not None or self.takes_many:
            return None
        if self.made is not None and "transform_row" in vars(self.made):
            return None
        return touched_keys(self.kind)

    def check_hook(self, etl: EtlBase) -> None:
        """Look at an instance that is ready for rows: its hook is the one whose code was read.

        Raises:
            JobError: It is another one, which would not find the columns that this one does not touch.
        """
        if self._touched is None:
            return
        hook = etl.transform_row
        hook = getattr(hook, "__wrapped__", hook)
        if getattr(hook, "__func__", hook) is not hook_of(self.kind):
            raise JobError(
                f"an instance of {type(etl).__name__} has another transform_row than its class "
                f"{self.kind.__name__}, which was read to see what columns rows need. Name them in the "
                "class attribute `columns`",
                stage="transform",
            )

    def check_passing(self, source: tuple[Column, ...]) -> None:
        """Raise if `output_schema` gives another type to a column that passes through untouched.

        Raises:
            ConfigError: Says which column.
        """
        if self.output_schema is not None and self.columns is not None:
            read = {column.name for column in self.read_columns(source)}
            passing = {column.name: column for column in source if column.name not in read}
            refuse_conversions(self.output_schema, passing)

    @property
    def max_parked(self) -> int:
        """Rows that may wait beside those at work; 0 where rows run one after the other."""
        if self.max_concurrency == 1 or self.is_arrow:
            return 0
        most = MAX_PARKED_TASKS if self.is_async else MAX_PARKED_THREADS
        return most if self._declared_parked is None else min(self._declared_parked, most)

    @property
    def task_rows(self) -> int:
        """Rows per task, at least: those of one call."""
        return self.batch_size if self.batched else 1

    @property
    def takes_many(self) -> bool:
        """Whether one call gets many rows."""
        return self.batched or self.is_arrow

    @property
    def is_sequential(self) -> bool:
        """Whether one worker runs one row after the other."""
        return self.max_concurrency == 1 and not self.takes_many

    @property
    def chunk_rows(self) -> int:
        """Rows per chunk, at most: a multiple of `task_rows`."""
        if self.is_sequential or self.is_arrow:
            return _CHUNK_ROWS
        return max(1, _SHARED_CHUNK_ROWS // self.task_rows) * self.task_rows


def _is_async(etl: type[EtlBase]) -> bool:
    """Whether the hook that transforms rows is async.

    Raises:
        ConfigError: Another hook is of the other kind, and cannot be called.
    """
    kinds = {hook: _kind(getattr(etl, hook)) for hook in _HOOKS if hook in _overridden(etl)}
    if kinds.get("transform_arrow", "sync") != "sync":
        raise ConfigError(
            f"{etl.__name__}.transform_arrow is async: it computes, and has nothing to await. Calls "
            "belong into transform_row or transform_batch"
        )
    used = "transform_batch" if overrides_batch(etl) else "transform_row"
    used = "transform_arrow" if overrides_arrow(etl) else used
    if kinds.get("transform_batch") == "an async generator":
        raise ConfigError(f"{etl.__name__}.transform_batch is an async generator: return a list")
    is_async = kinds.get(used) != "sync"
    for hook, kind in kinds.items():
        is_helper = hook in {"before_action", "after_action"}
        if kind == "an async generator" and is_helper:
            raise ConfigError(f"{etl.__name__}.{hook} is an async generator: it cannot be awaited")
        if kind == "sync" and is_async and not is_helper:
            raise ConfigError(f"{etl.__name__}.{used} is async, but {hook} is not: {_SAME}")
        if kind != "sync" and not is_async:
            raise ConfigError(f"{etl.__name__}.{hook} is async, but {used} is not: {_SAME}")
    return is_async


_HOOKS = ("before_action", "transform_row", "transform_batch", "transform_arrow", "after_action")
_SAME = "write `async def` for all of them, or for none"


def _overridden(etl: type[EtlBase]) -> set[str]:
    return {hook for hook in _HOOKS if getattr(etl, hook) is not getattr(EtlBase, hook)}


def _kind(hook: Callable[..., object]) -> str:
    if inspect.isasyncgenfunction(hook):
        return "an async generator"
    return "async" if inspect.iscoroutinefunction(hook) else "sync"


def _refuse_too_many(max_concurrency: int, *, is_async: bool) -> None:
    if is_async and max_concurrency > MAX_TASKS:
        raise ConfigError(f"max_concurrency = {max_concurrency:,}: {MAX_TASKS:,} is the most")
    if not is_async and max_concurrency > MAX_THREADS:
        raise ConfigError(
            f"max_concurrency = {max_concurrency:,}: {MAX_THREADS:,} is the most for hooks that are "
            f"not async, as each takes a thread. With `async def` it may be up to {MAX_TASKS:,}"
        )


def _made_by(factory: Callable[[], EtlBase]) -> EtlBase:
    try:
        return factory()
    except EtlkitError:
        raise
    except Exception as error:
        raise ConfigError(f"the transform cannot be made: {user_error_text(error)}") from error


def refuse_conversions(columns: tuple[Column, ...], passing: Mapping[str, Column]) -> None:
    """Raise if a column would have to be converted that the transform does not read.

    Args:
        columns: The output columns.
        passing: Source columns that pass through, by name.

    Raises:
        ConfigError: Says which column.
    """
    for column in columns:
        source = passing.get(column.name)
        if source is not None and source.ddl != column.ddl:
            raise ConfigError(
                f"output_schema says {column.name} {column.ddl}, but the column passes through "
                f"as {source.ddl}; add it to the class attribute `columns` to convert it"
            )


def _positive(etl: type[EtlBase], name: str) -> int:
    value = getattr(etl, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{etl.__name__}.{name} = {value!r}: it is a whole number, 1 or more")
    return value
