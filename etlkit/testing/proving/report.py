"""What a proof has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class ProvedRun:
    """One run of a proof.

    Attributes:
        seed: Repeats it.
        weather: What happened at the services.
        kills: Processes that were killed.
        gave_up: Attempts that ended with an error, and were resumed.
        cuts: Connections to BigQuery that were cut.
        faults: Faults of calls, by name.
        lost: Target rows that are missing.
        doubled: Target rows that are there too often.
        different: Target rows with other values.
        calls: Calls that the gateway saw.
        lost_answers: Answers that got lost after the service had done its work.
        repaid_after_loss: What was paid for again because of that.
        repaid_after_kill: What was paid for again after each kill.
        problems: What is wrong, in sentences; empty = all held.
        seconds: How long it took.
    """

    seed: int
    weather: str
    kills: int = 0
    gave_up: int = 0
    cuts: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    doubled: int = 0
    different: int = 0
    calls: int = 0
    lost_answers: int = 0
    repaid_after_loss: int = 0
    repaid_after_kill: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def repaid(self) -> int:
        """What was paid for again, for whatever reason."""
        return self.repaid_after_loss + sum(self.repaid_after_kill)


@dataclass
class ProofReport:
    """The outcome of a proof.

    Attributes:
        job: As it was named.
        rows: Rows of the sample.
        rows_published: Target rows that an undisturbed run makes of them.
        calls_undisturbed: Calls that it makes.
        recorded: Real calls that were made for the recording.
        max_concurrency: Calls in flight.
        bound: What a kill may cost.
        runs: In the order of their seeds.
        findings: What is wrong with the job without any faults; empty = nothing.
        notes: What a reader should know of the proof.
        seconds: How long all of it took.
    """

    job: str
    rows: int
    rows_published: int = 0
    calls_undisturbed: int = 0
    recorded: int = 0
    max_concurrency: int = 1
    bound: int = 1
    runs: list[ProvedRun] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def failed(self) -> Sequence[ProvedRun]:
        """Runs in which something did not hold."""
        return [run for run in self.runs if run.problems]

    @property
    def holds(self) -> bool:
        """Whether everything held."""
        return not self.failed and not self.findings

    @property
    def worst_kill(self) -> int:
        """The most that a single kill has cost."""
        return max((max(run.repaid_after_kill, default=0) for run in self.runs), default=0)

    def as_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {"holds": self.holds, "failed": [run.seed for run in self.failed], **asdict(self)}
