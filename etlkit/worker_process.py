"""What a worker's process runs: it joins the run of the process that has started it."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etlkit.engine.worker_messages import Order


def main(pipe: Connection, order: Order) -> None:
    """Work on a shared run until nothing is left.

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
    with ExitStack() as world:
        if os.environ.get("ETLKIT_BUCKETS"):  # the run is in a local world
            from etlkit.local.bigquery.redirects import redirect_storage
            from etlkit.local.vision.redirects import redirect_vision

            world.enter_context(redirect_vision())
            world.enter_context(redirect_storage())
        run_worker(pipe, order, signal.SIGTERM)
