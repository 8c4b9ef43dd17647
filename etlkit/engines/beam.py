"""Workers as elements of an Apache Beam pipeline, on this machine or on Dataflow."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

from etlkit.engines.beam_pipeline import BeamTasks, quiet
from etlkit.errors import ConfigError

_HERE = frozenset({"DirectRunner", "FnApiRunner"})
"""Both are Beam's FnApiRunner here: DirectRunner would try Prism first, whose binary it downloads."""

_OURS = {
    "direct_num_workers": "--workers N says it",
    "direct_running_mode": "workers are processes",
}


class BeamEngine:
    """See `etlkit.engines.engine.Engine`.

    Args:
        arguments: Options of pipelines, e.g. `runner` and `region`
            (https://cloud.google.com/dataflow/docs/reference/pipeline-options).
        num_workers: How many elements the pipeline has; None = as many as this machine has processors.
    """

    name = "beam"

    def __init__(self, arguments: Mapping[str, str], num_workers: int | None) -> None:
        self._arguments = dict(arguments)
        self._runner = self._arguments.pop("runner", "DirectRunner")
        self.is_remote: bool = self._runner not in _HERE
        self.max_restarts: int = 0 if self.is_remote else 3
        self._num_workers = num_workers

    def check(self) -> None:
        """See `etlkit.engines.engine.Engine.check`."""
        for name in self._arguments.keys() & _OURS.keys():
            raise ConfigError(f"--engine-arg {name} cannot be set: {_OURS[name]}")
        if self._arguments:
            self._check_options()
        if self.is_remote and self._num_workers is None:
            raise ConfigError(
                f"say with --workers N how many workers share the run on {self._runner}"
            )
        if self.is_remote and not self._arguments.get("temp_location"):
            raise ConfigError(
                f"{self._runner} needs --engine-arg temp_location=gs://BUCKET/FOLDER, where workers "
                "leave what they have done"
            )

    def _check_options(self) -> None:
        with quiet():
            from apache_beam.options.pipeline_options import PipelineOptions

        parser = _Parser(allow_abbrev=False)
        for options in PipelineOptions.__subclasses__():
            with contextlib.suppress(argparse.ArgumentError):  # two classes have one option
                options._add_argparse_args(parser)  # noqa: SLF001 - what authors of options define
        _, unknown = parser.parse_known_args(self._flags())
        if unknown:
            name = unknown[0].removeprefix("--").partition("=")[0]
            raise ConfigError(f"--engine-arg {name}: Beam's pipelines have no such option")

    def _flags(self) -> list[str]:
        return [
            f"--{name}" if value in {"", "true"} else f"--{name}={value}"
            for name, value in self._arguments.items()
        ]

    @contextmanager
    def connect(self) -> Iterator[int]:
        """See `etlkit.engines.engine.Engine.connect`."""
        yield self._num_workers or os.cpu_count() or 1

    def start(self, work: Callable[[bytes], bytes], orders: Sequence[bytes]) -> BeamTasks:
        """See `etlkit.engines.engine.Engine.start`."""
        flags = [f"--runner={self._runner}", *self._flags()]
        if not self.is_remote:
            flags[0] = "--runner=FnApiRunner"
            flags += ["--direct_running_mode=multi_processing"]
            flags += [f"--direct_num_workers={len(orders)}"]
        return BeamTasks(work, orders, flags, self._arguments.get("temp_location"))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"--engine-arg {message.removeprefix('argument --')}")
