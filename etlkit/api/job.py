"""`TransferJob`: a frozen description of what to run. Nothing happens when one is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from etlkit.api.job_options import JobOptions, describe
from etlkit.api.lineage import KeepsLineage
from etlkit.api.sink import KeepsResults, Sink
from etlkit.api.source import Source
from etlkit.api.transform import EtlBase
from etlkit.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TransferJob(JobOptions):
    """Stream the rows of a source through a transform into a sink.

    Attributes:
        source: Where rows come from, e.g. `BigQuerySource("SELECT …")`.
        transform: The `Etl` class, or a function without arguments that makes an instance; called
            once per worker.
        sink: Where rows go, e.g. `BigQuerySink("dataset.table", mode="replace")`.

    All other attributes are those of `etlkit.api.job_options.JobOptions`.
    """

    source: Source
    transform: type[EtlBase] | Callable[[], EtlBase]
    sink: Sink

    def __post_init__(self) -> None:
        """Raise for wrong values that can be found without any I/O."""
        for role in ("source", "sink"):
            thing = getattr(self, role)
            if isinstance(thing, type) or not hasattr(thing, "open"):
                raise ConfigError(
                    f"TransferJob({role}=…) got {describe(thing)}: it needs an object that opens "
                    f"a run, e.g. BigQuery{role.capitalize()}(…)"
                )
        if isinstance(self.transform, type) and not issubclass(self.transform, EtlBase):
            raise ConfigError(
                f"TransferJob(transform=…) got {describe(self.transform)}: it needs a subclass "
                "of etlkit.EtlBase"
            )
        if not callable(self.transform):
            raise ConfigError(
                f"TransferJob(transform=…) got {describe(self.transform)}: give the class "
                "itself, not an instance; every worker makes its own"
            )
        super().__post_init__()
        if self.reuse:
            if not isinstance(self.sink, KeepsResults):
                raise ConfigError(
                    f"reuse needs a BigQuerySink, not a {type(self.sink).__name__}: that keeps no "
                    "results for later runs"
                )
            self.sink.check_reuse(self.source)
        if self.lineage:
            if not isinstance(self.sink, KeepsLineage):
                raise ConfigError(
                    f"lineage needs a BigQuerySink, not a {type(self.sink).__name__}: that has no "
                    "target columns to add"
                )
            self.sink.check_lineage(self.source)
