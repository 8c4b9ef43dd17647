"""Where code takes random numbers or the time: a proof names these lines beside what differs."""

import ast
import random

from etlkit import EtlBase
from etlkit.testing.proving.chance import calls_by_chance, chance_text

CODE = """
import random, time, uuid as u
import numpy as np
import os.path
from datetime import datetime as dt, date
from secrets import token_hex

def f(self, row, rng, other):
    random.random(); np.random.rand(); u.uuid4(); dt.now(); date.today(); token_hex(4)
    time.time(); random.Random(); os.getpid()
    random.Random(7); random.seed(1); np.random.default_rng(seed=3)  # the same each time
    rng.random(); other.time.time(); time.sleep(1); u.uuid5(a, b); dt.fromisoformat(x); row.now()
"""


class Lucky(EtlBase):
    def transform_row(self, row):
        row["luck"] = random.random()  # noqa: S311 - this is what the test is about
        return row


class Calm(EtlBase):
    def transform_row(self, row):
        return row


def test_calls_are_found_by_what_their_names_mean():
    """Whatever a module is imported as; a seed makes numbers repeatable."""
    found = sorted(calls_by_chance(ast.parse(CODE)))
    assert found == [
        ("datetime.date.today", 9),
        ("datetime.datetime.now", 9),
        ("numpy.random.rand", 9),
        ("os.getpid", 10),
        ("random.Random", 10),
        ("random.random", 9),
        ("secrets.token_hex", 9),
        ("time.time", 10),
        ("uuid.uuid4", 9),
    ]


def test_a_transform_is_told_with_file_and_line():
    """So its author sees why two undisturbed runs differ."""
    assert chance_text(Lucky) == (
        "The code uses what differs from run to run: "
        "random.random (tests/unit/testing/test_chance.py:26)"
    )
    assert chance_text(dict) == ""
    assert chance_text(Calm) == ""  # another transform of the module takes chance
