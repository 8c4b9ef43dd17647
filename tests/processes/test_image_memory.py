"""How much memory the decoding of large images takes, measured in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from etlkit.local.server.launcher import ENVIRONMENT

MEGABYTE = 2**20
SIDE = 5_000
"""25 million pixels: 100 MB in Pillow's memory, and about 75 kB in a file."""

MEASURE = f"""
import io, resource, struct, sys, zlib
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
from etlkit.local.ml.pixels import decode
from etlkit.local.vision.images import decode_image

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

def png(color_type, bytes_per_pixel):
    rows, packed = zlib.compressobj(1), []
    for _ in range({SIDE}):
        packed.append(rows.compress(b"\\0" + b"\\x80" * ({SIDE} * bytes_per_pixel)))
    packed.append(rows.flush())
    head = struct.pack(">IIBBBBB", {SIDE}, {SIDE}, 8, color_type, 0, 0, 0)
    chunks = (b"IHDR", head), (b"IDAT", b"".join(packed)), (b"IEND", b"")
    return b"\\x89PNG\\r\\n\\x1a\\n" + b"".join(chunk(*each) for each in chunks)

def of_vision(data):
    return decode_image(data, max_bytes=10_000_000).size

def of_query(data):
    return decode(data).shape

data = png(int(sys.argv[2]), int(sys.argv[3]))
Image.init()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with ThreadPoolExecutor(4) as threads:
    sizes = set(threads.map(globals()[sys.argv[1]], [data] * 4))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(sizes), (after - before) * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.mark.parametrize(
    ("who", "color_type", "channels"), [("of_vision", 2, 3), ("of_query", 6, 4)]
)
def test_four_large_images_at_once_stay_within_the_budget(who, color_type, channels):
    """All four at once, with a copy or two of each, took 0.9 to 1.1 GB."""
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, who, str(color_type), str(channels)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=True,
    )
    num_sizes, num_bytes = map(int, measured.stdout.split())
    assert num_sizes == 1
    assert num_bytes < 650 * MEGABYTE
