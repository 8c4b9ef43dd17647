"""Which engines there are."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING

from etlkit.errors import ConfigError, missing_packages

if TYPE_CHECKING:
    from etlkit.engines.engine import Engine

PACKAGES = {"beam": "apache_beam", "ray": "ray"}
"""Engine to the package that it needs; its extra has the engine's name."""


def make_engine(
    name: str,
    arguments: Mapping[str, str],
    num_workers: int | None,
    environ: Mapping[str, str],
) -> Engine:
    """Make the engine of a name.

    Args:
        name: `beam` or `ray`.
        arguments: The engine's own options.
        num_workers: How many workers share the run; None = as many as the engine has processors.
        environ: The environment variables.

    Raises:
        ConfigError: No such engine, it is not installed, or an argument is wrong.
    """
    if name not in PACKAGES:
        raise ConfigError(f"no engine {name!r}: there are {' and '.join(PACKAGES)}")
    if importlib.util.find_spec(PACKAGES[name]) is None:
        raise missing_packages(f"{PACKAGES[name]} is not installed", name)
    engine: Engine
    if name == "beam":
        from etlkit.engines.beam import BeamEngine

        engine = BeamEngine(arguments, num_workers)
    else:
        from etlkit.engines.ray import RayEngine

        engine = RayEngine(arguments, num_workers, environ)
    engine.check()
    return engine
