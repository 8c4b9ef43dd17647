"""ML.PREDICT over an object table beside a plain onnxruntime loop: `python -m tests.bench.predict`.

The loop decodes and scales each photo and runs the same model in the same way, on all cores. Both run
in turn, so the ratio says something on a busy machine, too. Then the memory of the server process
after 100 photos and after 1,000.

The photos are those in photos/, in many sizes and qualities. Nothing is written outside of a
temporary folder.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from PIL import Image

from etlkit.local import join_or_start

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "etlkit" / "local" / "models" / "efficientnet_lite0.i8.onnx"
BUCKET_SIZES = (100, 500, 1000)


def make_photos(folder: Path, number: int) -> list[Path]:
    """Vary the five photos: sizes of 300-1,200 pixels, mirrored, JPEG qualities of 70-95."""
    originals = [
        Image.open(each).convert("RGB") for each in sorted((ROOT / "photos").glob("*.jpg"))
    ]
    folder.mkdir(parents=True)
    paths = []
    for index, original in zip(range(number), itertools.cycle(originals), strict=False):
        width = 300 + 37 * index % 900
        image = original.resize((width, width * original.height // original.width))
        if index % 2:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        path = folder / f"{index:04}.jpg"
        image.save(path, quality=70 + index % 26)
        paths.append(path)
    return paths


def plain_loop(session: onnxruntime.InferenceSession, paths: list[Path]) -> list[int]:
    """What everybody writes; onnxruntime itself uses all cores."""
    best = []
    for path in paths:
        with Image.open(path) as image:
            small = image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
        tensor = np.asarray(small, np.float32)[np.newaxis] / np.float32(255)
        (scores,) = session.run(["probabilities"], {"images": tensor})
        best.append(int(scores[0].argmax()))
    return best


def predict(client: bigquery.Client, number: int) -> list[int]:
    """The same in SQL: the best class of each photo, in order."""
    rows = client.query(f"""
        SELECT uri, (SELECT class FROM UNNEST(probabilities) AS p WITH OFFSET AS class
                     ORDER BY p DESC LIMIT 1) AS best
        FROM ML.PREDICT(MODEL bench.model,
          (SELECT uri, ML.DECODE_IMAGE(data) AS images FROM bench.photos_{number}))
        ORDER BY uri
    """).result()
    return [row["best"] for row in rows]


def server_mib(pid: int) -> tuple[float, float]:
    """Memory of the server process: now, and at most so far."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    now, most = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def forget_most(pid: int) -> None:
    """Let `VmHWM` start again from what it is now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="each way is timed this often")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name, join_or_start(Path(name) / ".etlkit") as server:
        buckets = server.local_dir / "buckets"
        photos = {n: make_photos(buckets / f"bench-{n}", n) for n in BUCKET_SIZES}
        (buckets / "bench-model").mkdir()
        (buckets / "bench-model" / "model.onnx").write_bytes(MODEL.read_bytes())
        with bigquery.Client(
            project=server.endpoints.project,
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=server.endpoints.bigquery),
        ) as client:
            tables = "\n".join(
                f"CREATE EXTERNAL TABLE bench.photos_{n} WITH CONNECTION us.c "
                f"OPTIONS(object_metadata='SIMPLE', uris=['gs://bench-{n}/*']);"
                for n in BUCKET_SIZES
            )
            client.query(f"""
                CREATE SCHEMA bench; {tables}
                CREATE MODEL bench.model
                OPTIONS(model_type='ONNX', model_path='gs://bench-model/*');
            """).result()
            compare(client, photos[500], rounds)
            measure_memory(client, server.pid)


def compare(client: bigquery.Client, paths: list[Path], rounds: int) -> None:
    """Both ways in turn; the first round of each warms up."""
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    loop_s, sql_s = [], []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        expected = plain_loop(session, paths)
        between = time.perf_counter()
        answered = predict(client, len(paths))
        end = time.perf_counter()
        loop_s.append(between - start)
        sql_s.append(end - between)
        assert answered == expected, "the two ways disagree"
    loop, sql = min(loop_s[1:]), min(sql_s[1:])
    rates = f"plain loop {len(paths) / loop:.0f}/s, ML.PREDICT {len(paths) / sql:.0f}/s"
    print(f"{len(paths)} photos, best of {rounds} rounds each: {rates}")
    print(f"ML.PREDICT at {100 * loop / sql:.0f} % of the speed of the loop")


def measure_memory(client: bigquery.Client, pid: int) -> None:
    """The most that the server took in one query over 100 and over 1,000 photos."""
    for number in (100, 1000):
        forget_most(pid)
        before, _ = server_mib(pid)
        assert len(predict(client, number)) == number
        _, most = server_mib(pid)
        print(f"{number:5} photos: server {before:.0f} MiB before, at most {most:.0f} MiB")


if __name__ == "__main__":
    main()
