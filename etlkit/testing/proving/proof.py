"""A proof: undisturbed runs first, then one run for each seed, each compared with what they gave."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from etlkit.api.quantities import number_of
from etlkit.errors import ConfigError, JobError
from etlkit.testing.fault_proxy import Fault, Proxy
from etlkit.testing.proving.answers import Answers, Fake, Recording, names_of
from etlkit.testing.proving.attempt import SAMPLE, SHUFFLED, Order, Outcome
from etlkit.testing.proving.bill import Bill, Charges
from etlkit.testing.proving.chance import chance_text
from etlkit.testing.proving.comparison import Rows, compare, differing_columns
from etlkit.testing.proving.gateway import Gateway
from etlkit.testing.proving.processes import Child, ForkServer
from etlkit.testing.proving.report import ProofReport, ProvedRun
from etlkit.testing.proving.scenario import (
    APPEND,
    REQUEST,
    Attempt,
    Kill,
    Scenario,
    Undisturbed,
    scenario,
)
from etlkit.testing.proving.tables import ProofTables, throw_away_connection
from etlkit.testing.proving.vision_gateway import VisionGateway

if TYPE_CHECKING:
    from etlkit.api.job import TransferJob
    from etlkit.testing.proving.sample import Sample

OnProgress = Callable[[str, int, ProofReport], None]
"""Told what is done now, how many runs are done, and what was found so far."""

_LEAST_END_S: Final = 60.0
_LEAST_CALL_S: Final = 3.0
_SLOWEST: Final = 20
"""A run under faults may take this many times what an undisturbed one takes."""

_NUM_BATCHES: Final = 10
_MAX_GIVEN_UP: Final = 3
_COUNTS: Final = ("read", "written", "skipped", "rejected")
_HASH_SEEDS: Final = (1, 2)


@dataclass(frozen=True)
class ProofPlan:
    """What to prove.

    Attributes:
        target: The job, as the command line names it.
        job: The same.
        sample: Its rows.
        command: Starts the server that runs are forked from, see `ForkServer`.
        runs: How many.
        seed: Of the first run; each of the others has the next one.
        fake: Answers the job's calls; None = there is none.
        recording: Of real answers; None = no real service is asked.
        buckets: Folder of local buckets that the job may read, which are copied; None = there are none.
        ignored: Columns that are not compared, e.g. the time of a run.
        allowed_hosts: Hosts that the job may reach past etlkit.
        variables: Values of custom variables.
        queued_at: Time for `Timestamp` variables.
    """

    target: str
    job: TransferJob
    sample: Sample
    command: Sequence[str]
    runs: int
    seed: int
    fake: Fake | None = None
    recording: Recording | None = None
    buckets: Path | None = None
    ignored: Sequence[str] = ()
    allowed_hosts: Sequence[str] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)
    queued_at: datetime = field(default_factory=datetime.now)


def prove(plan: ProofPlan, on_progress: OnProgress) -> ProofReport:
    """Prove a job in a throw-away local world.

    Args:
        plan: What to prove.
        on_progress: Called often.

    Returns:
        What was found; it holds or not.

    Raises:
        ConfigError: The job cannot be proved like this: nobody answers its calls.
        JobError: It fails without any faults.
    """
    from etlkit.runner import local_world

    began = time.monotonic()
    report = ProofReport(plan.target, len(plan.sample.rows))
    with ExitStack() as stack:
        on_progress("starting a local world", 0, report)
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="etlkit-prove-")))
        servers = [
            stack.enter_context(ForkServer(plan.command, seed, place / "server.log"))
            for seed in _HASH_SEEDS
        ]
        if plan.buckets is not None and plan.buckets.is_dir():
            shutil.copytree(plan.buckets, place / ".etlkit" / "buckets")
        stack.enter_context(local_world(place / ".etlkit"))
        world = _World(plan, place, stack)
        proof = _Proof(plan, world, servers, report, on_progress)
        proof.run_undisturbed()
        proof.run_all()
    report.seconds = round(time.monotonic() - began, 1)
    return report


class _World:
    """Gateways, proxies and tables around the throw-away local world."""

    def __init__(self, plan: ProofPlan, place: Path, stack: ExitStack) -> None:
        from etlkit.bigquery.names import parse_table

        self.place = place
        self.bill = Bill()
        self.answers = Answers(plan.fake, plan.recording)
        self.gateway = stack.enter_context(Gateway(self.answers, self.bill))
        rest, grpc = os.environ["BIGQUERY_EMULATOR_HOST"], "ETLKIT_BIGQUERY_GRPC_ENDPOINT"
        self.rest = stack.enter_context(Proxy(rest))
        self.grpc = stack.enter_context(Proxy(os.environ[grpc], http2=True))
        token = os.environ["ETLKIT_LOCAL_TOKEN"]
        vision = stack.enter_context(
            VisionGateway(os.environ["ETLKIT_VISION_GRPC_ENDPOINT"], self.bill, plan.fake)
        )
        address = urlsplit(os.environ["ETLKIT_VISION_ENDPOINT"])
        vision_port = self.gateway.port_of(f"{address.scheme}://{address.netloc}")
        self.environ = {
            "BIGQUERY_EMULATOR_HOST": f"http://{self.rest.address}/{token}",
            grpc: self.grpc.address,
            "ETLKIT_VISION_ENDPOINT": f"http://127.0.0.1:{vision_port}{address.path}",
            "ETLKIT_VISION_GRPC_ENDPOINT": vision.address,
            "ETLKIT_JOURNAL": str(place / "journal"),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }
        self._fixed_ports = {
            int(address.rpartition(":")[2])
            for address in (self.rest.address, self.grpc.address, vision.address)
        }
        connection = stack.enter_context(throw_away_connection())
        target = parse_table(plan.job.sink.table, connection.project)  # type: ignore[attr-defined]
        self.tables = ProofTables(connection, target)
        connection.make_dataset(f"{connection.project}.etlkit_prove")
        self.tables.fill_samples(plan.sample.columns, plan.sample.rows)

    @property
    def ports(self) -> list[int]:
        return sorted(self._fixed_ports | self.gateway.ports)

    def disturb(self, attempt: Attempt | None, kill: Callable[[], None]) -> list[Fault]:
        """Arm the proxies for a process.

        Returns:
            The counter of requests, the one of appends, and what may strike.
        """
        rest, grpc = [Fault(REQUEST, times=0)], [Fault(APPEND, times=0)]
        for cut in () if attempt is None else attempt.cuts:
            at = _at(is_answered=cut.is_answered)
            (rest if cut.over == "rest" else grpc).append(Fault(cut.marker, at, skip=cut.skip))
        moment = None if attempt is None else attempt.kill
        if moment is not None and moment.at in {"request", "append"}:
            marker, faults = (REQUEST, rest) if moment.at == "request" else (APPEND, grpc)
            at = _at(is_answered=moment.is_answered)
            faults.append(Fault(marker, at, do="call", skip=moment.number - 1, action=kill))
        self.rest.faults, self.grpc.faults = rest, grpc
        return [rest[0], grpc[0], *rest[1:], *grpc[1:]]


def _at(*, is_answered: bool) -> Literal["request", "answer"]:
    return "answer" if is_answered else "request"


class _Proof:
    """Runs the job again and again.

    Args:
        plan: What to prove.
        world: Where.
        servers: Two, with different seeds of hashes.
        report: What is found goes there.
        on_progress: Called often.
    """

    def __init__(
        self,
        plan: ProofPlan,
        world: _World,
        servers: Sequence[ForkServer],
        report: ProofReport,
        on_progress: OnProgress,
    ) -> None:
        self._plan, self._world, self._servers = plan, world, servers
        self._report, self._on_progress = report, on_progress
        self._ignored = list(plan.ignored)
        self._usual: dict[str, int] = {}
        self._has_stable_keys = True
        self._undisturbed = Undisturbed(0, 0, 0, 0.0)
        self._expected: Rows = ()
        self._expected_rejects: Rows = ()
        self._counts: Mapping[str, int] = {}
        self._call_timeout_s: float | None = None
        found = chance_text(plan.job.transform)
        self._chance: str = f". {found}" if found else ""

    def run_undisturbed(self) -> None:
        """Run it four times without faults: what it gives, and whether it always gives the same."""
        tables, recording = self._world.tables, self._plan.recording
        self._on_progress("an undisturbed run", 0, self._report)
        self._calmly("first", SAMPLE, self._servers[0])
        if recording is not None:
            recording.save()
            recording.is_open = False
            self._report.recorded = recording.num_calls
        tables.keep()
        outcome, charges = self._calmly("second", SAMPLE, self._servers[0])
        self._expected, self._expected_rejects = tables.target_rows(), tables.rejected_rows()
        self._counts = {name: int(outcome.report[name]) for name in _COUNTS}
        self._report.rows_published = int(outcome.report["rows_published"])
        self._report.calls_undisturbed = charges.calls
        self._usual = dict(charges.paid)
        for name, source, why in (
            ("third", SAMPLE, "differ between two undisturbed runs over the same rows"),
            ("fourth", SHUFFLED, "depend on the order of the rows, or on other rows"),
        ):
            tables.reset()
            _, again = self._calmly(name, source, self._servers[1])
            if again.paid.keys() != self._usual.keys():
                self._has_stable_keys = False
            self._compare_undisturbed(why)
        self._look_past_etlkit(outcome)
        self._set_bound()

    def run_all(self) -> None:
        """Run it once for each seed."""
        for done in range(self._plan.runs):
            self._on_progress("proving", done, self._report)
            self._report.runs.append(self._run(self._plan.seed + done))
        self._on_progress("proving", self._plan.runs, self._report)
        if self._report.failed and self._chance:
            self._report.notes.append(
                f"rows of a run may differ because of the code, not of the faults{self._chance}"
            )

    # --- undisturbed -----------------------------------------------------------------------------

    def _calmly(self, name: str, source: str, server: ForkServer) -> tuple[Outcome, Charges]:
        world, began = self._world, time.monotonic()
        world.bill.begin(None, {})
        world.bill.begin_process(0, None)
        requests, appends, *_ = world.disturb(None, lambda: None)
        child = server.start(self._order(name, source, resume=False))
        if not child.wait(600.0):
            child.kill()
            child.wait(_LEAST_END_S)
            raise JobError("an undisturbed run did not end within 10 minutes")
        outcome = child.outcome()
        self._check_answers()
        if outcome is None:
            raise JobError(f"the process of an undisturbed run died (status {child.status})")
        if outcome.error:
            answers = self._world.answers
            reasons = "".join(f". {reason}" for reason in answers.unreachable.values())
            kind = ConfigError if outcome.exit_code == ConfigError.exit_code else JobError
            raise kind(f"the job fails without any faults: {outcome.error}{reasons}")
        seconds = time.monotonic() - began
        calls = world.bill.charges.calls
        self._undisturbed = Undisturbed(calls, requests.met, appends.met, seconds)
        return outcome, world.bill.charges

    def _check_answers(self) -> None:
        """Raise if calls were not answered."""
        answers = self._world.answers
        if answers.fake_error is not None:
            raise ConfigError(f"the fake raised {answers.fake_error}")
        if answers.differs is not None:
            raise ConfigError(
                f"the job asked something that is not in the recording ({answers.differs}): its "
                "requests differ from run to run. Answer them with --fake FILE:FUNCTION"
            )
        if answers.refused:
            origin, example = next(iter(answers.refused.items()))
            raise ConfigError(
                f"the job calls {names_of(list(answers.refused))}, e.g. {example}, and nobody answers "
                f"in a proof: {self._plan.runs + 4} runs would have to be paid for. Answer with a "
                "function of your own: --fake tests/fakes.py:answer; or keep the real answers, which "
                f"calls {origin} once for each row: --record answers.json"
            )

    def _compare_undisturbed(self, why: str) -> None:
        tables = self._world.tables
        rows = tables.target_rows()
        shown = [{n: v for n, v in row.items() if n not in self._ignored} for row in rows]
        wanted = [{n: v for n, v in r.items() if n not in self._ignored} for r in self._expected]
        columns = differing_columns(shown, wanted)
        if columns is None:
            difference = compare(shown, wanted)
            raise JobError(
                f"the rows of the target {why}: {len(rows):,} and {len(wanted):,} rows, e.g. "
                f"{'; '.join(difference.examples[:2])}. Nothing can be compared with them"
                f"{self._chance}"
            )
        if columns:
            self._ignored += columns
            names = ", ".join(columns)
            self._report.findings.append(
                f"the values of {names} {why}. They are left out of what follows. If that is meant, "
                f"e.g. the time of the run, say so: {' '.join(f'--ignore {n}' for n in columns)}"
                f"{self._chance}"
            )
        if compare(tables.rejected_rows(), self._expected_rejects):
            raise JobError(
                f"the rejected rows {why}. Nothing can be compared with them{self._chance}"
            )

    def _look_past_etlkit(self, outcome: Outcome) -> None:
        for address, place, number in outcome.past_etlkit:
            self._report.findings.append(
                f"{place} connects to {address} past etlkit ({number} times in a run). Such calls are "
                "not counted, not repeated and not limited, and no faults happen to them here. Make "
                "them with etlkit.calls.http.HttpClient"
            )

    def _set_bound(self) -> None:
        from etlkit.engine.transform_spec import TransformSpec

        report, spec = self._report, TransformSpec(self._plan.job)
        in_flight = spec.max_concurrency * (spec.batch_size if spec.batched else 1)
        calls_per_row = -(-sum(self._usual.values()) // max(1, report.rows))
        report.max_concurrency = spec.max_concurrency
        report.bound = in_flight * max(1, calls_per_row)
        if calls_per_row > 1:
            report.bound += spec.max_parked * (calls_per_row - 1)
        self._call_timeout_s = _LEAST_CALL_S + self._undisturbed.seconds / 2
        if not self._undisturbed.calls:
            report.notes.append(
                "the job makes no calls through etlkit: only kills and cuts were tried"
            )
        elif not self._has_stable_keys:
            report.notes.append(
                "its requests differ from run to run, so that only their number is compared"
            )
        if self._plan.job.journal == "off":
            report.notes.append("the job has no journal, so that a kill may cost more calls")

    # --- under faults ----------------------------------------------------------------------------

    def _run(self, seed: int) -> ProvedRun:
        began = time.monotonic()
        world, plan = self._world, scenario(seed, self._undisturbed)
        run = ProvedRun(seed, plan.weather)
        world.tables.reset()
        world.bill.begin(plan, self._usual)
        error = self._attempts(plan, run)
        self._judge(run, error, world.bill.charges)
        run.seconds = round(time.monotonic() - began, 2)
        return run

    def _attempts(self, plan: Scenario, run: ProvedRun) -> str | None:
        """Start, kill and resume until it is published; gives why it is not."""
        number = 0
        while True:
            attempt = plan.attempts[number] if number < len(plan.attempts) else None
            outcome, status = self._attempt(plan, number, attempt, run)
            number += 1
            if outcome is None and status is None:
                run.kills += 1
                continue
            if outcome is None:
                return f"a process ended by itself with status {status}"
            if not outcome.error:
                counts = {name: int(outcome.report[name]) for name in _COUNTS}
                if counts != self._counts:
                    return f"the report says {counts}, an undisturbed run {dict(self._counts)}"
                return None
            run.gave_up += 1
            if run.gave_up > _MAX_GIVEN_UP:
                return f"it cannot be finished: {outcome.error}"

    def _attempt(
        self, plan: Scenario, number: int, attempt: Attempt | None, run: ProvedRun
    ) -> tuple[Outcome | None, int | None]:
        """One process: how it ended, and its status; None for both = it was killed."""
        world = self._world
        striker = _Striker(None if attempt is None else attempt.kill)
        world.bill.begin_process(number, striker.on_call)
        faults = world.disturb(attempt, striker.strike)
        order = self._order(f"seed_{plan.seed}", SAMPLE, resume=number > 0)
        child = self._servers[1].start(order)
        striker.begin(child)
        most_s = max(_LEAST_END_S, _SLOWEST * self._undisturbed.seconds)
        has_ended = child.wait(most_s)
        striker.end()
        run.cuts += sum(fault.struck for fault in faults if fault.do == "cut")
        if not has_ended:
            child.kill()
            child.wait(_LEAST_END_S)
            return Outcome(f"it did not end within {most_s:.0f} s", 1), 0
        outcome = child.outcome()
        if outcome is None and child.was_killed:
            return None, None
        return outcome, child.status

    def _judge(self, run: ProvedRun, error: str | None, charges: Charges) -> None:
        tables, problems = self._world.tables, run.problems
        if error is not None:
            problems.append(error)
        found = compare(tables.target_rows(), self._expected, self._ignored)
        run.lost, run.doubled, run.different = found.lost, found.doubled, found.different
        if found:
            problems.append(_difference_text("target", found.lost, found.doubled, found.different))
            problems += found.examples
        rejected = compare(tables.rejected_rows(), self._expected_rejects)
        if rejected:
            sizes = (rejected.lost, rejected.doubled, rejected.different)
            problems.append(_difference_text("table of rejected rows", *sizes))
            problems += rejected.examples
        run.calls, run.faults = charges.calls, dict(charges.faults)
        run.lost_answers = charges.lost
        self._judge_charges(run, charges)

    def _judge_charges(self, run: ProvedRun, charges: Charges) -> None:
        bound = self._report.bound
        if self._has_stable_keys and charges.paid.keys() <= self._usual.keys():
            run.repaid_after_loss = charges.repaid_after_loss
            run.repaid_after_kill = [charges.repaid_after_kill[n] for n in range(run.kills)]
            alike = charges.repaid_alike + charges.repaid_after_kill.total()
            alike -= sum(run.repaid_after_kill)
            if alike:
                run.problems.append(
                    f"{alike} calls were made again by the same process although their answers came"
                )
        else:
            more = charges.paid.total() - sum(self._usual.values())
            run.repaid_after_loss = max(0, min(more, charges.lost))
            rest = max(0, more - charges.lost)
            run.repaid_after_kill = [-(-rest // run.kills)] * run.kills if run.kills else []
        worst = max(run.repaid_after_kill, default=0)
        if worst > bound and self._plan.job.journal != "off":
            run.problems.append(
                f"{worst} calls were paid for again after one kill; at most {bound} were in flight"
            )

    def _order(self, name: str, source: str, *, resume: bool) -> Order:
        plan, world = self._plan, self._world
        return Order(
            target=plan.target,
            source=source,
            batch_rows=max(1, len(plan.sample.rows) // _NUM_BATCHES),
            name=f"etlkit_prove_{name}",
            resume=resume,
            local_dir=str(world.place / ".etlkit"),
            environ=world.environ,
            control=world.gateway.control,
            ports=world.ports,
            allowed_hosts=plan.allowed_hosts,
            variables=plan.variables,
            queued_at=plan.queued_at.isoformat(),
            call_timeout_s=self._call_timeout_s,
            outcome=str(world.place / "outcome.json"),
            log=str(world.place / "run.log"),
        )


class _Striker:
    """Kills a process at its moment.

    Args:
        kill: The moment; None = never.
    """

    def __init__(self, kill: Kill | None) -> None:
        self._kill = kill
        self._timer: threading.Timer | None = None
        self._child: Child | None = None
        self._is_due = False
        self._lock = threading.Lock()

    def begin(self, child: Child) -> None:
        """The process has started."""
        with self._lock:
            self._child = child
            is_due = self._is_due
        if is_due:
            child.kill()
        if self._kill is not None and self._kill.at == "time":
            self._timer = threading.Timer(self._kill.seconds, self.strike)
            self._timer.start()

    def end(self) -> None:
        """The process has ended, or time is up."""
        if self._timer is not None:
            self._timer.cancel()

    def on_call(self, number: int, moment: Literal["arrived", "answered"]) -> None:
        """See `OnCall`."""
        kill = self._kill
        if kill is None or kill.at != "call" or kill.number != number:
            return
        if kill.is_answered == (moment == "answered"):
            self.strike()

    def strike(self) -> None:
        """Kill it now."""
        with self._lock:
            self._is_due = True
            child = self._child
        if child is not None:
            child.kill()


def _difference_text(where: str, lost: int, doubled: int, different: int) -> str:
    parts = [
        f"{number_of(number, 'row')} {word}"
        for number, word in ((lost, "lost"), (doubled, "doubled"), (different, "different"))
        if number
    ]
    return f"{', '.join(parts)} in the {where}"
