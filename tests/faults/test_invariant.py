"""`read = written + skipped + rejected`, whatever mix of rows, errors, crashes and resumes comes.

`ETLKIT_EXAMPLES=500` is the long form: so many mixes instead of 15.
"""

import itertools
from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from etlkit import EtlBase, JobError, RowError, TransferJob
from etlkit.api.run import Settings
from etlkit.runner import run_job
from etlkit.testing import MemorySink, MemorySource

FATES = ["write", "write", "write", "skip", "empty", "fan out", "error"]
POLICIES = ["fail", "skip", "reject"]
CRASHES = ["transform", "stage", "before publishing", "after publishing"]
PARTS = 3


class CrashError(JobError):
    """What happens to the machine, not to a row."""


class CrashingSink(MemorySink):
    """Fails at a chosen step, before or after it has done the step."""

    crash: tuple[str, int] | None = None

    def open(self, job, run, reader):
        writer = super().open(job, run, reader)
        write, commit = writer.write, writer.commit
        batches = itertools.count()

        def crashing_write(batch):
            kind, moment = self.crash or ("", 0)
            if kind == "stage" and next(batches) >= moment % 3:
                raise CrashError("staging broke", stage="stage")
            write(batch)

        def crashing_commit(counts):
            if self.crash is not None and self.crash[0] == "before publishing":
                raise CrashError("publishing broke", stage="publish")
            published = commit(counts)
            if self.crash is not None and self.crash[0] == "after publishing":
                raise CrashError("the answer is lost", stage="publish")
            return published

        writer.write, writer.commit = crashing_write, crashing_commit
        return writer


class Runs(RuleBasedStateMachine):
    """Runs of one job into one target, one after the other."""

    def __init__(self):
        super().__init__()
        self.sink = CrashingSink("append")
        self.source = MemorySource([], {"n": "INT64", "fate": "STRING"}, batch_rows=7)
        self.target: Counter = Counter()
        self.rejected: Counter = Counter()
        self.numbers = itertools.count()
        self.run_id: str | None = None
        self.policy = "fail"
        self.errors_are_mended = False
        self.crash: tuple[str, int] | None = None
        self.calls: list[int] = []
        self.settled_before = 0
        self.source_rows: list[dict] = []

    def transform(self) -> type[EtlBase]:
        runs = self

        class Etl(EtlBase):
            max_concurrency = 3

            def transform_row(self, row):
                n, fate = row["n"], row["fate"]
                runs.calls.append(n)
                kind, moment = runs.crash or ("", 0)
                if kind == "transform" and len(runs.calls) > moment:
                    raise CrashError("the machine is gone", stage="transform")
                if fate == "skip":
                    return None
                if fate == "empty":
                    return []
                if fate == "fan out":
                    return [dict(row, part=part) for part in range(PARTS)]
                if fate == "error" and not runs.errors_are_mended:
                    raise RowError(f"row {n} is bad")
                return dict(row, part=0)

        return Etl

    def attempt(self, *, resume: str | None) -> None:
        self.sink.crash = self.crash
        self.calls = []
        job = TransferJob(
            source=self.source,
            transform=self.transform(),
            sink=self.sink,
            name="job",
            on_row_error=self.policy,
            max_rejected=None,
        )
        try:
            report = run_job(job, settings=Settings(), resume=resume)
        except (JobError, RowError) as error:
            self.failed(error)
        else:
            self.published(report)

    def failed(self, error) -> None:
        report = error.report
        assert report.state == "failed"
        by_policy = self.policy == "fail" and self.bad_rows() and isinstance(error, RowError)
        assert by_policy or isinstance(error, CrashError), error
        assert report.resumed >= self.settled_before
        self.settled_before = report.resumed
        kind, _ = self.crash or ("", 0)
        if kind == "after publishing" and not by_policy:
            self.expect_rows()
            self.run_id = None
        else:
            self.run_id = report.run_id

    def published(self, report) -> None:
        rows = self.source_rows
        fates = Counter(row["fate"] for row in rows)
        bad = 0 if self.errors_are_mended else fates["error"]
        good = len(rows) - fates["skip"] - fates["empty"] - bad
        assert report.state == "published"
        assert report.read == len(rows)
        assert report.read == report.written + report.skipped + report.rejected
        assert report.written == good
        assert report.rejected == (bad if self.policy == "reject" else 0)
        assert len(self.calls) == len(set(self.calls)) == report.read - report.resumed
        assert report.resumed >= self.settled_before
        self.expect_rows()
        self.run_id = None

    def bad_rows(self) -> list[int]:
        return [row["n"] for row in self.source_rows if row["fate"] == "error"]

    def expect_rows(self) -> None:
        """What the target has to hold now that this run is published."""
        for row in self.source_rows:
            n, fate = row["n"], row["fate"]
            if fate == "write" or (fate == "error" and self.errors_are_mended):
                self.target[n, 0] += 1
            elif fate == "fan out":
                self.target.update((n, part) for part in range(PARTS))
            elif fate == "error" and self.policy == "reject":
                self.rejected[f"row {n} is bad"] += 1

    @precondition(lambda self: self.run_id is None)
    @rule(
        fates=st.lists(st.sampled_from(FATES), max_size=40),
        policy=st.sampled_from(POLICIES),
        crash=st.none() | st.tuples(st.sampled_from(CRASHES), st.integers(0, 40)),
    )
    def start(self, fates, policy, crash):
        """A new run over new rows."""
        self.source_rows = [{"n": next(self.numbers), "fate": fate} for fate in fates]
        self.source.rows = self.source_rows
        self.policy, self.crash = policy, crash
        self.errors_are_mended = False
        self.settled_before = 0
        self.attempt(resume=None)

    @precondition(lambda self: self.run_id is not None)
    @rule(crash=st.none() | st.tuples(st.sampled_from(CRASHES), st.integers(0, 40)))
    def resume(self, crash):
        """The last run goes on; its source has changed in the meantime."""
        self.source.rows = [{"n": -1, "fate": "write"}]
        self.crash = crash
        self.attempt(resume="last")

    @precondition(lambda self: self.run_id is not None and self.policy == "fail")
    @rule()
    def mend(self):
        """Somebody mends the code, so that bad rows are good; none of them was settled yet."""
        self.errors_are_mended = True

    @invariant()
    def the_target_holds_what_was_published(self):
        """Nothing of an unpublished run, everything of the others, once."""
        assert Counter((row["n"], row["part"]) for row in self.sink.rows) == self.target
        seen = Counter(each.message.partition(": ")[2] for each in self.sink.rejects)
        assert seen == self.rejected


TestRuns = Runs.TestCase
TestRuns.settings = settings(
    stateful_step_count=15,
    suppress_health_check=[HealthCheck.too_slow],
)
