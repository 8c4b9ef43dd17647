"""Reports of workflows made by hand, for whatever shows them: real, large and hostile ones."""

import random
from datetime import UTC, datetime, timedelta
from typing import get_args

from etlkit.api.report import StatementReport
from etlkit.api.workflow_report import (
    FailedAttempt,
    RunSummary,
    TaskKind,
    TaskReport,
    TaskState,
    WorkflowReport,
)

BEGAN = datetime(2026, 11, 1, 9, 0, 0, tzinfo=UTC)
HOSTILE = (
    "</script></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&<!--]]>{{ 7*7 }}"
)


def at(seconds):
    """A time of the run as reports have it."""
    return (BEGAN + timedelta(seconds=seconds)).isoformat()


def task(name, kind, start=None, end=None, *, state="succeeded", after=(), **more):
    """A task that ran from `start` to `end`, seconds after the run began."""
    edges = after if isinstance(after, dict) else dict.fromkeys(after, "")
    if start is not None:
        more.setdefault("attempts", 1)
        more |= {"started_at": at(start)}
    if end is not None:
        more |= {"finished_at": at(end), "seconds": round(end - start, 3)}
    return TaskReport(name=name, kind=kind, state=state, after=edges, **more)


def statement(number, text, **more):
    """A statement that BigQuery ran."""
    billed = {"bytes_processed": 9_437_184 * number, "bytes_billed": 10_485_760 * number}
    more = {"state": "done", "slot_ms": 4_321 * number, "seconds": 1.5 * number, **billed, **more}
    return StatementReport(
        number=number, line=1 + 4 * number, statement=text, job_id=f"etlkit_{number}_1a2b", **more
    )


def _days():
    days = []
    for day in range(1, 32):
        start = 75 + 2 * day
        failed = day == 13
        days.append(
            task(
                f"2026-10-{day:02}",
                "transfer",
                start,
                start + (6 if failed else 3.5),
                state="failed" if failed else "succeeded",
                attempts=3 if failed else 1,
                run_id=f"20261101_09010{day:02}_ab12cd34",
                job="jobs.daily",
                target="photos.daily",
                read=120,
                written=0 if failed else 118,
                skipped=0 if failed else 2,
                rejected=0,
                error="row 7 (id 0b1c), column 'uri': 'ftp://x/1.jpg' is no gs:// or https:// address"
                if failed
                else None,
            )
        )
    return days


def _comparison():
    return [
        task("labels", "datamart", 96, 99, rows=5_000, bytes_billed=10_485_760),
        task("agreement", "datamart", 99, 103.5, after=["labels"], rows=1_240),
        task("disagreements", "python", 103.5, 104, after=["agreement"], value={"copied": 37}),
    ]


def _models():
    return [
        task("model.photos.stg_objects", "dbt", 105, 107, rows=14_211),
        task("model.photos.objects_by_label", "dbt", 107, 110, rows=812),
        task("test.not_null_uri", "dbt", 110, 110.4),
        task(
            "test.unique_uri",
            "dbt",
            110,
            110.6,
            state="failed",
            error="3 rows are not unique",
        ),
    ]


def article():
    """The article's workflow with something of everything."""
    tasks = [
        task(
            "object_table",
            "datamart",
            0,
            4.2,
            statements=[statement(1, "CREATE EXTERNAL TABLE photos.objects")],
            bytes_billed=0,
        ),
        task(
            "resnet_model",
            "datamart",
            4.3,
            9,
            after=["object_table"],
            from_earlier=False,
            statements=[statement(1, "CREATE OR REPLACE MODEL photos.resnet")],
        ),
        task(
            "resnet_predict",
            "datamart",
            9.1,
            38,
            after=["resnet_model"],
            rows=5_000,
            target="photos.resnet_scores",
            statements=[
                statement(
                    1, "CREATE TEMP TABLE images AS SELECT uri FROM photos.objects", rows=5_000
                ),
                statement(
                    2,
                    "INSERT photos.resnet_scores SELECT * FROM ML.PREDICT(MODEL photos.resnet, TABLE)",
                    rows=5_000,
                ),
            ],
            bytes_billed=31_457_280,
            cost=0.0002,
            value={"rows": 5000, "top": "tabby cat"},
        ),
        task(
            "ranking",
            "datamart",
            38.1,
            41,
            after=["resnet_predict"],
            rows=25_000,
            statements=[statement(1, "CREATE OR REPLACE TABLE photos.ranking AS", rows=25_000)],
        ),
        task(
            "vision_objects",
            "transfer",
            12,
            70,
            after=["object_table"],
            attempts=2,
            failed_attempts=[
                FailedAttempt(
                    started_at=at(4.3),
                    finished_at=at(10.5),
                    error="vision: UNAVAILABLE, no answer for 5 s",
                )
            ],
            run_id="20261101_090004_0a1b2c3d",
            job="jobs.vision_objects",
            target="photos.vision_objects",
            read=5_000,
            written=4_961,
            skipped=12,
            rejected=27,
            calls=320,
            cost=7.44,
            rejects={"ImageError": 21, "RowSchemaError": 6},
            first_errors=[
                "row 7 (id 3f2a), column 'uri': Bad image data",
                "row 91 (id 77aa): the image is larger than 20 MB",
                "row 138 (id 91ce), column 'score': 1.7 is not a FLOAT64 of 0.0-1.0",
            ],
            details={"stages": "open 0.4 s, snapshot 2.1 s, transform 51.0 s, publish 4.5 s"},
        ),
        task("objects_long", "datamart", 70.1, 72, after=["vision_objects"], rows=14_211),
        task(
            "vision_labels",
            "transfer",
            4.3,
            52,
            after=["object_table"],
            from_earlier=False,
            run_id="20261101_090004_ffee",
            job="jobs.vision_labels",
            target="photos.vision_labels",
            read=5_000,
            written=5_000,
            skipped=0,
            rejected=0,
            calls=313,
            cost=7.5,
        ),
        task(
            "label_list",
            "http",
            4.3,
            5,
            value={"status": 200, "labels": ["cat", "dog"]},
            details={"request": "GET http://127.0.0.1:8080/labels.json"},
        ),
        task(
            "enough",
            "check",
            72.1,
            73,
            after=["objects_long"],
            value=14_211,
            details={
                "SQL": "SELECT COUNT(*)\nFROM photos.objects_long",
                "condition": "14211 >= 1000",
            },
        ),
        task(
            "usable",
            "branch",
            73,
            73.1,
            after=["enough"],
            branch="then",
            details={"condition": "enough >= 1000, or force is true"},
        ),
        task(
            "by_day",
            "transfer",
            75,
            143,
            after={"usable": "then"},
            state="failed",
            attempts=1,
            job="jobs.daily",
            target="photos.daily",
            read=3_720,
            written=3_540,
            skipped=60,
            rejected=0,
            children=_days(),
            details={"loop": "31 days from 2026-10-01, 4 at once, at most 3 failures"},
            error="1 of 31 iterations failed: 2026-10-13: row 7 (id 0b1c), column 'uri'",
        ),
        task("tell_nobody", "webhook", after={"usable": "otherwise"}, state="bypassed"),
        task(
            "joined",
            "datamart",
            75,
            95,
            after={"ranking": "", "usable": "then", "vision_labels": "", "label_list": ""},
            rows=44_100,
            bytes_billed=209_715_200,
            cost=0.0012,
            statements=[
                statement(
                    1,
                    "BEGIN",
                    statement_type="SCRIPT",
                    children=[
                        statement(1, "SELECT 1", rows=1),
                        statement(2, "MERGE photos.joined USING all_results", rows=44_100),
                    ],
                )
            ],
        ),
        task(
            "compare",
            "workflow",
            95.5,
            104,
            after=["joined"],
            run_id="20261101_090135_77",
            job="jobs.compare_models",
            children=_comparison(),
        ),
        task(
            "dbt_build",
            "dbt",
            104.5,
            111,
            after=["joined"],
            state="failed",
            children=_models(),
            error="1 of 4 failed: test.unique_uri: 3 rows are not unique",
        ),
        task("write_back", "transfer", after=["by_day"], state="not_run"),
        task("photo_page", "python", state="skipped", after=["compare"]),
        task("slack", "webhook", after=["write_back", "dbt_build"], state="not_run"),
    ]
    tasks[1].from_earlier = True
    tasks[1].started_at = "2026-10-31T22:00:00+00:00"
    tasks[1].finished_at = "2026-10-31T22:00:04.700000+00:00"
    return WorkflowReport(
        run_id="20261101_090000_1a2b3c4d",
        job="jobs.workflow",
        state="failed",
        tasks=tasks,
        attempt=2,
        started_at=at(0),
        finished_at=at(143),
        seconds=143.2,
        variables={"bucket": "gs://photos/2026", "min_score": "0.5", "day": "2026-10-31"},
        changes=["joined: its SQL changed", "photo_page: new"],
        bytes_billed=272_629_760,
        cost=14.9414,
        warnings=["the webhook of on_failure did not answer: timeout after 10 s"],
        error="by_day failed: 1 of 31 iterations failed; dbt_build failed: test.unique_uri",
    )


def succeeded():
    """A small workflow that went well."""
    tasks = [
        task("extract", "transfer", 0, 30, read=900, written=900, skipped=0, rejected=0, calls=57),
        task("clean", "datamart", 30, 34, after=["extract"], rows=880, bytes_billed=10_485_760),
        task("check", "check", 34, 34.4, after=["clean"], value=0),
    ]
    return WorkflowReport(
        run_id="20261101_090000_0000aaaa",
        job="jobs.small",
        state="published",
        tasks=tasks,
        started_at=at(0),
        finished_at=at(34.4),
        seconds=34.4,
        bytes_billed=10_485_760,
    )


def every_state():
    """One task of each kind in each state, with and without edges."""
    kinds, states = get_args(TaskKind), get_args(TaskState)
    tasks = [
        task(
            f"{kind}_{state}", kind, 1, 2, state=state, after=[f"{kind}_{states[i - 1]}"] * bool(i)
        )
        for kind in kinds
        for i, state in enumerate(states)
    ]
    return WorkflowReport(run_id="r", job="every state", state="interrupted", tasks=tasks)


def large(number, *, seed=1, width=8):
    """Many tasks with random edges to a few of the last `width`."""
    chance = random.Random(seed)  # noqa: S311 - an example, not a secret
    kinds = [kind for kind in get_args(TaskKind) if kind != "branch"]
    tasks, ends = [], {}
    for i in range(number):
        before = chance.sample(range(max(0, i - width), i), min(i, chance.choice([0, 1, 1, 2])))
        start = max((ends[j] for j in before), default=chance.random() * 5)
        ends[i] = start + chance.random() * 30
        failed = chance.random() < 0.03
        tasks.append(
            task(
                f"task_{i:03}",
                chance.choice(kinds),
                start,
                ends[i],
                state="failed" if failed else "succeeded",
                after=[f"task_{j:03}" for j in before],
                rows=chance.randrange(100_000),
                error="division by zero: 1 / 0" if failed else None,
            )
        )
    return WorkflowReport(
        run_id="20261101_090000_beefbeef",
        job=f"jobs.of_{number}",
        state="failed",
        tasks=tasks,
        started_at=at(0),
        finished_at=at(max(ends.values())),
        seconds=max(ends.values()),
    )


def hostile():
    """Markup in every field that holds text, also in the keys."""
    bad = HOSTILE
    evil = StatementReport(
        number=1, line=1, statement=bad, state="failed", job_id=bad, statement_type=bad, error=bad
    )
    child = task(bad, "python", 1, 2, error=bad, state="failed", value=bad, details={bad: bad})
    loop = task(
        f"a{bad}",
        "transfer",
        0,
        5,
        state="failed",
        attempts=2,
        run_id=bad,
        job=bad,
        target=bad,
        failed_attempts=[FailedAttempt(started_at=at(0), finished_at=at(1), error=bad)],
        value={bad: [bad]},
        statements=[evil],
        rejects={bad: 3},
        first_errors=[bad],
        details={bad: bad},
        children=[child],
        error=bad,
    )
    flow = task(
        bad,
        "workflow",
        5,
        6,
        after=[f"a{bad}"],
        children=[
            task(f"c{bad}", "datamart", 5, 6, statements=[evil], after={}),
            task(f"d{bad}", "branch", 5, 6, after=[f"c{bad}"], branch="then", details={bad: bad}),
        ],
    )
    return WorkflowReport(
        run_id=bad,
        job=bad,
        state="failed",
        tasks=[loop, flow],
        started_at=bad,
        finished_at=bad,
        variables={bad: bad},
        changes=[bad],
        warnings=[bad],
        error=bad,
    )


def month(*, seed=3):
    """The runs of 30 days of five jobs, as an overview has them."""
    chance = random.Random(seed)  # noqa: S311 - an example, not a secret
    runs = []
    for day in range(30):
        for number, (job, kind) in enumerate(_JOBS):
            if chance.random() < 0.15:
                continue
            began = BEGAN - timedelta(days=29 - day) + timedelta(hours=3 * number)
            state = chance.choices(["published", "failed", "interrupted"], [90, 8, 2])[0]
            seconds = (30 + 10 * number) * (1 + day / 40) * (0.8 + 0.4 * chance.random())
            rows = None if kind == "workflow" else int(5_000 * (1 + day / 30) * (1 + number))
            runs.append(
                RunSummary(
                    run_id=f"{began:%Y%m%d_%H%M%S}000_{chance.randrange(16**8):08x}",
                    job=job,
                    kind=kind,
                    state=state,
                    began_at=began.isoformat(),
                    seconds=seconds,
                    finished_at=(began + timedelta(seconds=seconds)).isoformat(),
                    read=rows if kind == "transfer" else None,
                    written=rows if kind == "transfer" else None,
                    rejected=chance.randrange(30) if kind == "transfer" else None,
                    rows=rows if state == "published" else None,
                    bytes_billed=chance.randrange(2**30) if kind != "transfer" else None,
                    cost=round(chance.random() * 4, 4) if kind == "transfer" else 0.0012,
                    error="vision: UNAVAILABLE" if state == "failed" else None,
                )
            )
    return sorted(runs, key=lambda run: run.began_at, reverse=True)


_JOBS = [
    ("jobs.workflow", "workflow"),
    ("jobs.vision_objects", "transfer"),
    ("jobs.daily", "transfer"),
    ("jobs.ranking", "datamart"),
    ("jobs.joined", "datamart"),
]
