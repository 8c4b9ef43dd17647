"""The Google clients of one run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from etlkit.bigquery.google_errors import google_message, key_file_fault
from etlkit.bigquery.names import TableName, label
from etlkit.calls.backoff import Backoff, BackoffPolicy
from etlkit.calls.clock import is_time_of_day_frozen
from etlkit.calls.local_token import local_token, with_metadata, without_token
from etlkit.deferred_imports import deferred_pandas
from etlkit.errors import ConfigError, JobError
from etlkit.telemetry.backend import active
from etlkit.telemetry.spans import Span, span

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud import bigquery

    from etlkit.api.run import Run, Settings

T = TypeVar("T")

log: logging.Logger = logging.getLogger("etlkit.bigquery")

EMULATOR_VARIABLE = "BIGQUERY_EMULATOR_HOST"
GRPC_VARIABLE = "ETLKIT_BIGQUERY_GRPC_ENDPOINT"

PARENT_LABEL = "etlkit_parent"
"""Label of the jobs and work tables of a task's run: the workflow's run."""

REQUEST_S = 60.0
"""Socket timeout of one request. The client library's default is none: a request may then hang ever."""

JOB_REQUEST_S = 300.0
"""Socket timeout of a request that starts or awaits a job: it may be answered late."""

CANCEL_S = 10.0
"""Socket timeout when a job is cancelled because its run stops."""

_REQUESTS: Any = Backoff("a request to BigQuery", BackoffPolicy(max_total_s=120.0))
"""The library's own rule goes on for 10 minutes, in silence, also when nobody listens."""

NO_RETRY: Any = None
"""For requests that are repeated by their caller, or not at all."""

_JOBS = Backoff(
    "a BigQuery job", BackoffPolicy(max_attempts=6, max_total_s=600.0, first_wait_s=1.0)
)
"""Jobs that ended in a transient error are run again under a new id.
Source: https://cloud.google.com/bigquery/docs/error-messages"""

_MAX_BESIDE = 4
"""Requests beside those of the run itself: looks ahead, and drops of work tables."""

_MAX_MESSAGE_BYTES = 128 * 1024 * 1024
"""A ReadRowsResponse may have up to 128 MB: https://cloud.google.com/bigquery/docs/reference/storage"""

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
)
"""How often a silent connection is asked whether its other end is still there, and how long it may take
to answer: a router on the way may have forgotten it.
Source: https://grpc.io/docs/guides/keepalive/"""


def import_without_pandas() -> None:
    """Import Google's client now, and pandas when somebody uses it.

    For processes that are ours: a program's own imports stay as they are.
    """
    with deferred_pandas():
        from google.cloud import bigquery  # noqa: F401


def connect(run: Run) -> Connection:
    """The run's connection: made once, shared by source and sink, closed when the run ends.

    Raises:
        ConfigError: There are no credentials, or no project, or `freeze_time` is around the run.
    """
    if is_time_of_day_frozen():
        raise ConfigError(
            "freeze_time cannot be around a run on BigQuery, whose clients tell deadlines by the time "
            "of day: use it with datamart_rows, or for a transform on rows (run_transform, etl_run)"
        )
    own = {"etlkit_job": label(run.job_name), "etlkit_run": label(run.run_id)}
    if run.parent is not None:
        own[PARENT_LABEL] = label(run.parent.run_id)

    worker = "" if run.worker is None else f"_{run.worker.id}"

    def make() -> Connection:
        connection = Connection(
            run.settings,
            job_prefix=f"etlkit_{run.run_id}_{run.attempt}{worker}",
            labels={**run.labels, **own},
            check_stop=run.check_interrupted,
        )
        run.on_interrupt(connection.cancel_all)
        return connection

    return run.share("bigquery", make, Connection.close)


def _never() -> None:
    return


def _emulator_credentials(token: str | None) -> Credentials:
    """The local server's token, or nothing for an emulator that wants none."""
    from google.auth.credentials import AnonymousCredentials
    from google.oauth2.credentials import Credentials as TokenCredentials

    kind: Any = AnonymousCredentials if token is None else partial(TokenCredentials, token)
    credentials: Credentials = kind()
    return credentials


class Connection:
    """Clients for REST, Storage Read and Storage Write, and the location everything happens in.

    Args:
        settings: Project, location and environment.
        job_prefix: How the ids of its BigQuery jobs begin.
        labels: Of every job and table it makes.
        check_stop: Raises if nobody waits for the next job any more; called before and after each.

    Attributes:
        client: The REST client.
        location: Where jobs run and datasets are made; None = not known yet.
        labels: As given.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        job_prefix: str,
        labels: Mapping[str, str] | None = None,
        check_stop: Callable[[], None] = _never,
    ) -> None:
        self._settings = settings
        self._job_prefix = job_prefix
        self.labels: dict[str, str] = dict(labels or {})
        self._check_stop = check_stop
        self._running: set[str] = set()
        environ = settings.environ
        self._local_token = local_token(environ.get(EMULATOR_VARIABLE) or "", environ)
        self._emulator = without_token(environ.get(EMULATOR_VARIABLE) or "", self._local_token)
        self._grpc_endpoint = environ.get(GRPC_VARIABLE)
        self._storage: list[Any] = []
        self._datasets: dict[str, bigquery.Dataset] = {}
        self._looks: dict[str, Future[Any]] = {}
        self._drops: list[Future[None]] = []
        self._beside = ThreadPoolExecutor(_MAX_BESIDE, "etlkit-bigquery")
        self.location: str | None = settings.location
        self.client: bigquery.Client = self._make_client()

    @property
    def project(self) -> str:
        """The project that is billed and holds the work dataset."""
        project: str = self.client.project
        return project

    def close(self) -> None:
        """Close every connection, when all work tables are dropped."""
        for drop in self._drops:
            drop.result()
        self._beside.shutdown(wait=False, cancel_futures=True)
        for client in self._storage:
            client.transport.close()
        self.client.close()  # type: ignore[no-untyped-call]

    def _make_client(self) -> bigquery.Client:
        from google.auth.exceptions import DefaultCredentialsError
        from google.cloud import bigquery

        settings = self._settings
        options: dict[str, Any] = {"project": settings.project, "location": settings.location}
        if self._emulator:
            if not self._emulator.startswith(("http://", "https://")):
                raise ConfigError(
                    f"{EMULATOR_VARIABLE}={self._emulator} is no address: it must begin with http://, "
                    "e.g. http://localhost:9050; unset it to run on Google Cloud"
                )
            options |= {
                "project": settings.project or settings.environ.get("GOOGLE_CLOUD_PROJECT"),
                "credentials": _emulator_credentials(self._local_token),
                "client_options": {"api_endpoint": self._emulator},
            }
        try:
            client = bigquery.Client(**options)
        except (DefaultCredentialsError, OSError) as error:
            if isinstance(error, OSError) and error.errno is None:
                raise ConfigError(
                    f"no Google Cloud project ({error}): give one with --project, or run against "
                    "the embedded BigQuery with --local"
                ) from error
            if self._emulator:  # only the project was looked for
                raise self._no_project() from error
            fault = key_file_fault(error, settings.environ)
            if fault is not None:
                raise ConfigError(
                    f"{fault}. Name a key file that works, or unset the variable and sign in: gcloud "
                    "auth application-default login"
                ) from error
            raise ConfigError(
                "no Google Cloud credentials. Either run against the embedded BigQuery with "
                "--local, or sign in: gcloud auth application-default login (or set "
                "GOOGLE_APPLICATION_CREDENTIALS to a key file)"
            ) from error
        if not client.project:  # GOOGLE_CLOUD_PROJECT is set to nothing
            raise self._no_project()
        _bound_every_request(client)
        return client

    def _no_project(self) -> ConfigError:
        where = f" for {EMULATOR_VARIABLE}={self._emulator}" if self._emulator else ""
        return ConfigError(
            f"no project{where}: give one with --project, or set GOOGLE_CLOUD_PROJECT"
        )

    def reader(self) -> Any:
        """A new `BigQueryReadClient`, closed with the connection.

        The generated client: the hand-written one on top of it has its own way to reconnect.
        """
        from google.cloud.bigquery_storage_v1.services.big_query_read import BigQueryReadClient
        from google.cloud.bigquery_storage_v1.services.big_query_read.transports import (
            BigQueryReadGrpcTransport,
        )

        return self._open(BigQueryReadClient, BigQueryReadGrpcTransport)

    def writer(self) -> Any:
        """A new `BigQueryWriteClient`, closed with the connection."""
        from google.cloud.bigquery_storage_v1 import BigQueryWriteClient
        from google.cloud.bigquery_storage_v1.services.big_query_write.transports import (
            BigQueryWriteGrpcTransport,
        )

        client = self._open(BigQueryWriteClient, BigQueryWriteGrpcTransport)
        # Else api-core waits for the first answer before it hands out the call, and a silent
        # connection could not be cancelled. The Pub/Sub client does the same.
        client.transport.append_rows._prefetch_first_result_ = False
        return client

    def _open(self, kind: Any, transport: Any) -> Any:
        if self._grpc_endpoint is None and self._emulator:
            raise ConfigError(
                f"{EMULATOR_VARIABLE} is set but {GRPC_VARIABLE} is not: rows are read and written "
                "over gRPC; set it to the emulator's host:port, or use --local"
            )
        if self._grpc_endpoint:
            import grpc

            channel = grpc.insecure_channel(self._grpc_endpoint, options=_CHANNEL_OPTIONS)
            token = local_token(self._grpc_endpoint, self._settings.environ)
            if token is not None:
                channel = with_metadata(channel, ("authorization", f"Bearer {token}"))
            client = kind(transport=transport(channel=channel))
        else:
            client = kind(
                credentials=self.client._credentials,  # noqa: SLF001 - no public name
                transport=partial(transport, channel=partial(_real_channel, transport)),
            )
        self._storage.append(client)
        return client

    def job_id(self, purpose: str) -> str:
        """The id that `query` gives to a job."""
        return f"{self._job_prefix}_{purpose}"

    def query(
        self,
        sql: str,
        purpose: str,
        *,
        parameters: list[Any] | None = None,
        maximum_bytes_billed: int | None = None,
        job_id: str | None = None,
    ) -> bigquery.QueryJob:
        """Run SQL to its end as a labelled job whose id we make.

        The id is stable in an attempt at the run, so a request whose answer was lost finds its job
        again instead of running twice. A job that failed for a transient reason is run again under
        the next id. If the caller is interrupted, the job is cancelled.

        Args:
            sql: GoogleSQL.
            purpose: Unique in the run; part of the job id.
            parameters: Query parameters of the client library.
            maximum_bytes_billed: The job fails instead of billing more; None = no bound.
            job_id: The whole id of a job that several processes may ask for and that must run once
                at a time; None = one of this attempt's own.

        Raises:
            google.api_core.exceptions.GoogleAPICallError: BigQuery refused or failed it.
        """
        from google.cloud import bigquery

        config = bigquery.QueryJobConfig(labels=self.labels, use_query_cache=False)
        if parameters:
            config.query_parameters = parameters
        if maximum_bytes_billed is not None:
            config.maximum_bytes_billed = maximum_bytes_billed
        tries = 0

        def run() -> bigquery.QueryJob:
            nonlocal tries
            tries += 1
            name = job_id or self.job_id(purpose)
            return self._run_job(sql, name + ("" if tries == 1 else f"_try{tries}"), config)

        return _JOBS.call(run)

    def _run_job(self, sql: str, job_id: str, config: bigquery.QueryJobConfig) -> bigquery.QueryJob:
        log.debug("job %s: %s", job_id, sql)
        with span("bigquery job", kind="client", bigquery_job_id=job_id) as told:
            job = self._finished_job(sql, job_id, config)
            _tell(told, job)
        return job

    def _finished_job(
        self, sql: str, job_id: str, config: bigquery.QueryJobConfig
    ) -> bigquery.QueryJob:
        from google.api_core.exceptions import Conflict

        self._check_stop()
        self._running.add(job_id)
        try:
            try:
                job = self.client.query(
                    sql,
                    job_config=config,
                    job_id=job_id,
                    location=self.location,
                    retry=self.retry(),
                    job_retry=None,
                    timeout=JOB_REQUEST_S,
                )
            except Conflict:
                job = self._find_query(job_id)
            self._check_stop()  # it was not there to be cancelled a moment ago
            if (
                job.state != "DONE" or job.error_result
            ):  # short jobs are over when they are answered
                job.result(retry=self.retry(), job_retry=None)
        except Exception as error:
            self._raise_if_stopped(error)
            raise
        except BaseException:
            self.cancel(job_id)
            raise
        finally:
            self._running.discard(job_id)
        self.location = self.location or job.location
        return job

    def _find_query(self, job_id: str) -> bigquery.QueryJob:
        """The job that our own earlier request made. BigQuery may not find it for a moment."""
        from google.api_core.exceptions import NotFound
        from google.cloud import bigquery

        young = Backoff(
            f"looking for job {job_id}", is_transient=lambda error: isinstance(error, NotFound)
        )
        job = young.call(
            lambda: self.client.get_job(
                job_id, location=self.location, retry=self.retry(), timeout=REQUEST_S
            )
        )
        if not isinstance(job, bigquery.QueryJob):
            raise JobError(f"job {job_id} is not a query, although we made its id")
        return job

    def _raise_if_stopped(self, error: Exception) -> None:
        try:
            self._check_stop()
        except BaseException as stop:
            raise stop from error

    def cancel_all(self) -> None:
        """Cancel the jobs that other threads wait for."""
        for job_id in list(self._running):
            self.cancel(job_id)

    def cancel(self, job_id: str) -> None:
        """Cancel a job that nobody waits for any more; otherwise it would still cost."""
        try:
            self.client.cancel_job(job_id, location=self.location, retry=NO_RETRY, timeout=CANCEL_S)
        except Exception as error:
            log.warning("job %s could not be cancelled: %s", job_id, google_message(error))

    def select(
        self, sql: str, parameters: list[Any] | None = None, *, max_rows: int | None = None
    ) -> list[dict[str, Any]]:
        """Read a few rows by `jobs.query`: one request, no job of ours.

        Args:
            sql: One SELECT.
            parameters: Query parameters of the client library.
            max_rows: Rows to fetch at most; None = all.

        Raises:
            google.api_core.exceptions.GoogleAPICallError: BigQuery refused or failed it.
        """
        from google.cloud import bigquery

        config = bigquery.QueryJobConfig(labels=self.labels, use_query_cache=False)
        if parameters:
            config.query_parameters = parameters
        log.debug("query: %s", sql)
        self._check_stop()
        with span("bigquery select", kind="client"):
            rows = _JOBS.call(
                lambda: self.client.query_and_wait(
                    sql,
                    job_config=config,
                    location=self.location,
                    retry=self.retry(),
                    job_retry=NO_RETRY,
                    api_timeout=JOB_REQUEST_S,
                    max_results=max_rows,
                )
            )
            return [dict(row) for row in rows]

    def dry_run(self, sql: str, parameters: list[Any] | None = None) -> bigquery.QueryJob:
        """Have BigQuery validate SQL and estimate its bytes. Free, and nothing is written.

        Raises:
            google.api_core.exceptions.GoogleAPICallError: BigQuery refused it.
        """
        from google.cloud import bigquery

        config = bigquery.QueryJobConfig(
            dry_run=True, use_query_cache=False, labels=self.labels
        )  # with the cache, a query that ran today is estimated at 0 bytes
        config.query_parameters = parameters or []
        with span("bigquery dry run", kind="client"):
            return self.client.query(
                sql,
                job_config=config,
                location=self.location,
                retry=self.retry(),
                job_retry=None,
                timeout=REQUEST_S,
            )

    @staticmethod
    def retry() -> Any:
        """The `retry` of every request to BigQuery."""
        return _REQUESTS

    def look_ahead(self, datasets: Iterable[str], tables: Iterable[TableName]) -> None:
        """Begin to look up what will be asked for soon, beside what the caller does meanwhile.

        `find_dataset` and the next `find_table` of each table then wait for these answers.
        """
        for dataset_id in datasets:
            if dataset_id not in self._datasets and dataset_id not in self._looks:
                self._looks[dataset_id] = self._submit(self._get_dataset, dataset_id)
        for name in tables:
            if str(name) not in self._looks:
                self._looks[str(name)] = self._submit(self._get_table, name)

    def _submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Do something beside, as work of the same run."""
        return self._beside.submit(copy_context().run, function, *arguments)

    def find_table(self, name: TableName) -> bigquery.Table | None:
        """Look a table up; None = there is none."""
        look = self._looks.pop(str(name), None)
        return self._get_table(name) if look is None else look.result()

    def _get_table(self, name: TableName) -> bigquery.Table | None:
        from google.api_core.exceptions import NotFound

        try:
            return self.client.get_table(str(name), retry=self.retry(), timeout=REQUEST_S)
        except NotFound:
            return None

    def find_dataset(self, dataset_id: str) -> bigquery.Dataset | None:
        """Look a dataset up, once; None = there is none."""
        if dataset_id not in self._datasets:
            look = self._looks.pop(dataset_id, None)
            found = self._get_dataset(dataset_id) if look is None else look.result()
            if found is None:
                return None
            self._datasets[dataset_id] = found
        return self._datasets[dataset_id]

    def _get_dataset(self, dataset_id: str) -> bigquery.Dataset | None:
        from google.api_core.exceptions import NotFound

        try:
            return self.client.get_dataset(dataset_id, retry=self.retry(), timeout=REQUEST_S)
        except NotFound:
            return None

    def make_dataset(self, dataset_id: str, location: str | None = None) -> None:
        """Create a dataset, by default in the run's location; an existing one is fine.

        Raises:
            JobError: It exists in another location than the run.
        """
        from google.cloud import bigquery

        found = self.find_dataset(dataset_id)
        if found is not None:  # creating one needs another permission
            self._refuse_elsewhere(found)
            return
        dataset = bigquery.Dataset(dataset_id)
        if (location or self.location) is not None:
            dataset.location = location or self.location
        self.client.create_dataset(dataset, exists_ok=True, retry=self.retry(), timeout=REQUEST_S)

    def _refuse_elsewhere(self, dataset: bigquery.Dataset) -> None:
        here, there = self.location, dataset.location
        if here and there and here.lower() != there.lower():
            raise JobError(
                f"dataset {dataset.project}.{dataset.dataset_id} is in {there}, this run is in {here}, "
                "and BigQuery does not work across locations: give source and sink of this job "
                "another work_dataset",
                stage="open",
            )

    def make_table(self, table: bigquery.Table) -> bigquery.Table:
        """Create a table; an existing one is returned as it is. Not a job."""
        return self.client.create_table(
            table, exists_ok=True, retry=self.retry(), timeout=REQUEST_S
        )

    def find_or_make_table(self, table: bigquery.Table) -> bigquery.Table:
        """As `make_table`, for a table that is nearly always there: one request then, not two."""
        name = TableName(table.project, table.dataset_id, table.table_id)
        return self.find_table(name) or self.make_table(table)

    def update(self, table: bigquery.Table, fields: list[str]) -> bigquery.Table:
        """Change properties of a table by `tables.patch`. Not a job."""
        return self.client.update_table(table, fields, retry=self.retry(), timeout=REQUEST_S)

    def drop_beside(
        self, names: Sequence[TableName], then: Callable[[], None] | None = None
    ) -> None:
        """Drop work tables beside what the caller does meanwhile, at the latest when this is closed.

        Args:
            names: In any order.
            then: Called when all of them are gone, likewise beside; None = nothing is left to do.
        """

        def drop() -> None:
            for each in drops:
                each.result()
            if then is not None:
                then()

        drops = [self._submit(self.drop_work_table, name) for name in names]
        self._drops.append(self._submit(drop))

    def drop_work_table(self, name: TableName) -> None:
        """Drop a work table. It expires by itself, so a failure is only a warning."""
        try:
            self.client.delete_table(
                str(name), not_found_ok=True, retry=self.retry(), timeout=REQUEST_S
            )
        except Exception as error:
            log.warning("work table %s was left behind: %s", name, google_message(error))


def _tell(told: Span, job: bigquery.QueryJob) -> None:
    """What a job was and what it cost. Not its text: that may hold values of rows."""
    told.set(
        bigquery_statement_type=job.statement_type,
        bigquery_location=job.location,
        bigquery_bytes_processed=job.total_bytes_processed,
        bigquery_bytes_billed=job.total_bytes_billed,
        bigquery_slot_ms=job.slot_millis,
    )
    backend = active.get()
    if backend is not None and job.total_bytes_billed:
        backend.instruments.bytes_billed.add(job.total_bytes_billed)


def _real_channel(transport: Any, host: str, **options: Any) -> Any:
    """The channel that a Google client would make, with our options.

    Args:
        transport: The client's class of transport.
        host: Where to connect to.
        options: What the transport asks for: credentials, scopes and the like.
    """
    return transport.create_channel(host, **{**options, "options": list(_CHANNEL_OPTIONS)})


def _bound_every_request(client: bigquery.Client) -> None:
    """Give a socket timeout also to requests that the library makes without one, e.g. to poll."""
    from requests.adapters import HTTPAdapter

    class Bounded(HTTPAdapter):
        def send(self, *args: Any, **options: Any) -> Any:
            if options.get("timeout") is None:
                options["timeout"] = JOB_REQUEST_S
            return super().send(*args, **options)

    for scheme in ("https://", "http://"):
        client._http.mount(scheme, Bounded())  # noqa: SLF001 - the way its documentation shows
