"""The workflow of photos, killed at random moments and resumed: every table as if undisturbed.

It takes minutes, so it runs only with `ETLKIT_WORKFLOW_KILLS=20`. `ETLKIT_SEED=…` repeats its moments.
"""

import itertools
import os
import random
import sys
import time
from dataclasses import dataclass, field

import pytest

from etlkit.local.buckets import Buckets
from etlkit.testing import FaultServer
from tests.photos_workflow import DATASET, ROOT, TIMEOUT_S, WorkflowProcess, contents, put_model

KILLS = int(os.environ.get("ETLKIT_WORKFLOW_KILLS", "0"))
SEED = int(os.environ.get("ETLKIT_SEED", "0")) or random.randrange(1, 10**6)  # noqa: S311
NUM_PHOTOS = 48
LATENCY_S = 0.3
LAST_S = 1.0
"""What was answered earlier than this before a kill is durable: the promise of the docs."""

pytestmark = pytest.mark.skipif(not KILLS, reason="set ETLKIT_WORKFLOW_KILLS, e.g. to 20")


@dataclass
class Vision:
    """Two servers for two features, and when each photo was asked about."""

    calls: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def answer(self, item):
        """The photo's own answer, always the same."""
        (feature,) = item.features
        self.calls.setdefault((feature, item.uri), []).append(time.monotonic())
        found = {"mid": "/m/1", "score": 0.75}
        name = FaultServer.label_of(item.uri)
        if feature == "LABEL_DETECTION":
            return {"labelAnnotations": [{**found, "description": name}]}
        corners = [
            {"x": x, "y": y} for x, y in ((0.25, 0.25), (0.5, 0.25), (0.5, 0.5), (0.25, 0.5))
        ]
        box = {"normalizedVertices": corners}
        return {"localizedObjectAnnotations": [{**found, "name": name, "boundingPoly": box}]}

    @property
    def num_calls(self) -> int:
        """How often a photo was asked about."""
        return sum(map(len, list(self.calls.values())))

    def repeated(self, killed_at: list[float]) -> int:
        """How many calls about a photo were made again; each must have been in flight at a kill."""
        count = 0
        for key, times in self.calls.items():
            for first, again in itertools.pairwise(times):
                before = [kill for kill in killed_at if first < kill < again]
                assert before, f"{key}: twice, though nobody was killed"
                late_s = before[0] - (first + LATENCY_S)
                assert late_s < LAST_S, f"{key}: again, {late_s:.2f} s after its answer"
                count += 1
        return count


@pytest.fixture
def start(fault_server, bq, tmp_path):
    """Start the workflow as a process, over photos of its own; gives the function and Vision."""
    buckets = Buckets(fault_server.local_dir / "buckets")
    put_model(buckets)
    photos = itertools.cycle(sorted((ROOT / "photos").glob("*.jpg")))
    for number, photo in zip(range(NUM_PHOTOS), photos, strict=False):
        buckets.put([photo], f"gs://bqml-vision/photo_{number:02}.jpg")
    vision, numbers, processes = Vision(), itertools.count(), []
    with (
        FaultServer(answer=vision.answer, latency_s=LATENCY_S) as objects,
        FaultServer(answer=vision.answer, latency_s=LATENCY_S) as labels,
    ):

        def process(*options):
            log = tmp_path / f"{next(numbers)}.log"
            processes.append(WorkflowProcess(fault_server.local_dir, objects, labels, log, options))
            return processes[-1]

        yield process, vision
        for each in processes:
            each.close()
    bq.delete_dataset(DATASET, delete_contents=True, not_found_ok=True)


def num_published(run) -> int:
    """How many runs of the workflow are published."""
    sql = "SELECT COUNTIF(state = 'published') FROM etlkit_work.runs WHERE job = 'jobs.workflow'"
    ((number,),) = run(sql)
    return number


@pytest.mark.timeout(120 + 40 * KILLS)
def test_killed_at_random_moments(start, run, bq, until, capsys):
    """Each round ends with the tables of the undisturbed run; repeated are only calls in flight."""
    process, vision = start
    rng = random.Random(SEED)  # noqa: S311 - no secret

    def is_killed(child, number: int) -> bool:
        """Kill it at a random moment: every other time while Vision is asked, if it is."""
        if number % 2:
            return child.kill_after(rng.uniform(0, whole_s))
        before = vision.num_calls
        until(lambda: not child.is_alive or vision.num_calls > before, TIMEOUT_S)
        return child.kill_after(rng.uniform(0, LATENCY_S + LAST_S))

    began = time.monotonic()
    process().end()
    whole_s = time.monotonic() - began
    expected = contents(bq)
    assert len(expected[f"{DATASET}.photo_results"]) == NUM_PHOTOS
    kills, rounds, calls, repeated = 0, 0, 0, 0
    while kills < KILLS:
        bq.delete_dataset(DATASET, delete_contents=True)
        vision.calls.clear()
        killed_at: list[float] = []
        done = num_published(run)
        while num_published(run) == done:
            child = process("--resume=auto")
            number = kills + len(killed_at)
            if number < KILLS and is_killed(child, number):
                killed_at.append(time.monotonic())
            else:
                assert child.end()["state"] == "published", f"seed {SEED}"
        assert contents(bq) == expected, f"seed {SEED}"
        assert len(vision.calls) == 2 * NUM_PHOTOS
        repeated += vision.repeated(killed_at)
        calls += vision.num_calls
        kills, rounds = kills + len(killed_at), rounds + 1
    with capsys.disabled():
        sys.stdout.write(
            f"\nseed {SEED}: {kills} kills in {rounds} runs of the workflow; {calls} photos asked "
            f"about, {repeated} of them again\n"
        )
