"""A workflow of etlkit as a DAG of Airflow 2 or 3; also for Cloud Composer.

etlkit has a virtual environment of its own, so that its packages and Airflow's do not meet. What is
done is remembered in BigQuery: a retry goes on where the last try stopped, on whichever worker.
"""

import subprocess
from datetime import datetime, timedelta, timezone

from airflow.exceptions import AirflowException, AirflowFailException

try:
    from airflow.sdk import dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task

HOME = "/home/airflow/gcs/data/etl"
COMMAND = [f"{HOME}/.venv/bin/etlkit", "run", "jobs.workflow", "--project", "my-project"]


@dag(
    schedule="30 5 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    tags=["etlkit"],
)
def etl() -> None:
    """Run the workflow once a day."""

    @task(
        retries=3,
        retry_delay=timedelta(minutes=5),
        retry_exponential_backoff=True,
        execution_timeout=timedelta(hours=3),
    )
    def run_workflow() -> None:
        with subprocess.Popen([*COMMAND, "--resume=auto"], cwd=HOME) as process:
            try:
                status = process.wait()
            except BaseException:  # Airflow stops the task, or its time is over
                process.terminate()
                raise
        if status == 2:
            raise AirflowFailException("a mistake in the job or its options: no retry mends it")
        if status != 0:
            raise AirflowException(f"etlkit ended with exit status {status}")

    run_workflow()


etl()
