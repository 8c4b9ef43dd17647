"""What runs where a worker is: it joins the run of the process that has started it."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etlkit.engine.worker_messages import Order

NEEDED = ("etlkit.worker_imports",)
"""What every worker imports, and takes long."""


def main(pipe: Connection, order: Order) -> None:
    """Work on a shared run, in a process of this machine, until nothing is left.

    Args:
        pipe: To and from the run's process.
        order: What to do.
    """
    # A Ctrl-C reaches all processes of the terminal. The run's process tells what is to be done.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    from etlkit.bigquery.client import import_without_pandas
    from etlkit.engine.trocco import provide_etl_base
    from etlkit.engine.worker_run import run_worker

    import_without_pandas()
    provide_etl_base()
    with _world():
        run_worker(pipe, order, signal.SIGTERM)


def work(sent: bytes) -> bytes:
    """Work on a shared run where an engine wants it, until nothing is left.

    Args:
        sent: A pickled pair: an `Order`, whose environment has only what has to be the same here as in
            the run's process, and the folders from which that process imports.

    Returns:
        A pickled `Ended`.
    """
    from etlkit.engine.trocco import provide_etl_base
    from etlkit.engine.worker_run import run_remote_worker

    provide_etl_base()
    order: Order
    order, folders = pickle.loads(sent)  # noqa: S301 - the run's own process made it  # nosec B301
    sys.path += [each for each in folders if each not in sys.path and os.path.isdir(each)]  # noqa: PTH112
    os.environ.update(order.request.settings.environ)
    settings = replace(order.request.settings, environ=dict(os.environ))
    with _world():
        ended = run_remote_worker(replace(order, request=replace(order.request, settings=settings)))
    return pickle.dumps(ended)


@contextmanager
def _world() -> Iterator[None]:
    """Lead the clients to the local world, if the run is in one."""
    with ExitStack() as world:
        if os.environ.get("ETLKIT_BUCKETS"):
            from etlkit.local.bigquery.redirects import redirect_storage
            from etlkit.local.vision.redirects import redirect_vision

            world.enter_context(redirect_vision())
            world.enter_context(redirect_storage())
        yield
