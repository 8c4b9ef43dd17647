"""The workflow of photos in tests: what it needs and leaves, and the workflow as a process to kill."""

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from google.cloud import bigquery

from etlkit.local.buckets import Buckets
from etlkit.testing import FaultServer
from tests.warm_python import WarmPython

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "etlkit" / "local" / "models"
DATASET = "bqml_vision"
TIMEOUT_S = 120.0


def put_model(buckets: Buckets) -> None:
    """Put the classifier where the workflow looks for it."""
    model = sorted((MODELS / "savedmodel_resnet_stand_in").iterdir())
    buckets.put(model, "gs://resnet-model/", recursive=True)


def contents(bq: bigquery.Client) -> dict[str, list[str]]:
    """Every row of every table, in a form that can be compared."""
    tables = (f"{DATASET}.{table.table_id}" for table in bq.list_tables(DATASET))
    return {
        table: [
            row[0]
            for row in bq.query(f"SELECT TO_JSON_STRING(t) FROM {table} AS t ORDER BY 1").result()
        ]
        for table in tables
    }


class WorkflowProcess:
    """`etlkit run jobs.workflow` as a process of its own, with Vision on servers of the test.

    Args:
        local_dir: The local world.
        objects: Answers over REST, for objects.
        labels: Answers over gRPC, for labels.
        log: Where stderr goes.
        options: Of the command line.
    """

    def __init__(
        self,
        local_dir: Path,
        objects: FaultServer,
        labels: FaultServer,
        log: Path,
        options: Iterable[str] = (),
    ) -> None:
        self.log = log
        local = ["--local", "--local-dir", str(local_dir), "--var", f"page={local_dir}/photos.html"]
        with log.open("w") as stderr:
            self._process = WarmPython(
                ["-m", "etlkit.run", "jobs.workflow", *local, *options],
                cwd=ROOT,
                env={
                    **os.environ,
                    "ETLKIT_VISION_ENDPOINT": objects.url,
                    "ETLKIT_VISION_GRPC_ENDPOINT": labels.grpc_endpoint,
                },
                stderr=stderr,
            )

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def has_said(self, *lines: str) -> bool:
        """Whether these texts are in its log; an AssertionError if it has ended."""
        said = self.log.read_text()
        assert self.is_alive, said
        return all(line in said for line in lines)

    def kill_after(self, seconds: float) -> bool:
        """Kill it then; False = it ended by itself before."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.close()
        return self._process.returncode < 0

    def end(self) -> dict:
        """Let it end, and give its report."""
        out, _ = self._process.communicate(timeout=TIMEOUT_S)
        assert self._process.returncode == 0, self.log.read_text()
        return json.loads(out.splitlines()[-1])

    def close(self) -> None:
        """Kill it if it is there, and wait for its end."""
        if self.is_alive:
            self._process.kill()
            self._process.communicate()
        self._process.close()
