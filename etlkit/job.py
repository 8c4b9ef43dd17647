"""Jobs: frozen descriptions of what to run. Nothing happens when one is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from etlkit.base import EtlBase
from etlkit.errors import ConfigError
from etlkit.sink import Sink
from etlkit.source import Source

OnRowError = Literal["fail", "skip"]


@dataclass(frozen=True, kw_only=True)
class TransferJob:
    """Stream the rows of a source through a transform into a sink.

    Attributes:
        source: Where rows come from, e.g. `BigQuerySource("SELECT …")`.
        transform: The `Etl` class, or a function without arguments that makes an instance; called
            once per worker.
        sink: Where rows go, e.g. `BigQuerySink("dataset.table", mode="replace")`.
        name: The job's name in reports, labels and the ledger; None = the module's name.
        on_row_error: `fail` ends the run at the first row that cannot be settled; `skip` leaves
            such rows out, counts and reports them.
        max_concurrency: Calls in flight; None = what the transform declares.
        labels: Labels for every BigQuery job of the run, beside `etlkit_job` and `etlkit_run`.
    """

    source: Source
    transform: type[EtlBase] | Callable[[], EtlBase]
    sink: Sink
    name: str | None = None
    on_row_error: OnRowError = "fail"
    max_concurrency: int | None = None
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what can be seen to be wrong without any I/O."""
        for role in ("source", "sink"):
            thing = getattr(self, role)
            if isinstance(thing, type) or not hasattr(thing, "open"):
                raise ConfigError(
                    f"TransferJob({role}=…) got {_describe(thing)}: it needs an object that opens "
                    f"a run, e.g. BigQuery{role.capitalize()}(…)"
                )
        if isinstance(self.transform, type) and not issubclass(self.transform, EtlBase):
            raise ConfigError(
                f"TransferJob(transform=…) got {_describe(self.transform)}: it needs a subclass "
                "of etlkit.EtlBase"
            )
        if not callable(self.transform):
            raise ConfigError(
                f"TransferJob(transform=…) got {_describe(self.transform)}: give the class "
                "itself, not an instance; every worker makes its own"
            )
        if self.on_row_error not in get_args(OnRowError):
            raise ConfigError(
                f"on_row_error={self.on_row_error!r}: it is one of "
                + ", ".join(repr(value) for value in get_args(OnRowError))
            )
        if self.max_concurrency is not None and self.max_concurrency < 1:
            raise ConfigError(f"max_concurrency={self.max_concurrency}: it is 1 or more")


def _describe(thing: Any) -> str:
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    return f"an object of type {type(thing).__name__}"
