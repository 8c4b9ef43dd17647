"""A transform whose hooks are measured: row by row, for a rehearsal."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etlkit.api.transform import EtlBase
    from etlkit.calls.times import Times
    from etlkit.engine.transform_spec import TransformSpec


def timed(spec: TransformSpec, times: Times) -> Callable[[], EtlBase]:
    """What makes instances whose hook is measured; their class and its code stay as they are.

    Args:
        spec: The transform.
        times: Where each run of the hook is recorded.
    """
    make = spec.make
    name = "transform_row"
    if spec.takes_many:
        name = "transform_arrow" if spec.is_arrow else "transform_batch"

    def made() -> EtlBase:
        etl = make()
        if name not in vars(etl):  # a factory may give the same instance again
            hook = getattr(etl, name)
            run = _timed(hook, times, _count if spec.takes_many else _one)
            run.__wrapped__ = hook  # `TransformSpec.check_hook` looks for it
            vars(etl)[name] = run
        return etl

    return made


def _count(rows: Any) -> int:
    return int(getattr(rows, "num_rows", None) or len(rows))


def _one(_row: Any) -> int:
    return 1


def _timed(hook: Callable[[Any], Any], times: Times, count: Callable[[Any], int]) -> Any:
    """The hook, of the same kind: plain or async, with or without `yield`."""

    def run(given: Any) -> Any:
        with times.row(count(given)):
            return hook(given)

    def parts(given: Any) -> Iterator[Any]:
        with times.row(count(given)):
            yield from hook(given)

    async def awaited(given: Any) -> Any:
        with times.row(count(given)):
            return await hook(given)

    async def awaited_parts(given: Any) -> AsyncIterator[Any]:
        with times.row(count(given)):
            async for part in hook(given):
                yield part

    if inspect.isasyncgenfunction(hook):
        return awaited_parts
    if inspect.iscoroutinefunction(hook):
        return awaited
    return parts if inspect.isgeneratorfunction(hook) else run
