"""What `test_beam.py` looks at, run by the interpreter that has Beam.

It prints what is said of wrong arguments, and what a pipeline of a runner that is passed on gives.
"""

import json
import pickle
import sys

from etlkit.engines.registry import make_engine
from etlkit.errors import ConfigError

WRONG = [
    ({"nosuch": "1"}, None),
    ({"num_workers": "many"}, None),
    ({"direct_num_workers": "2"}, None),
    ({"runner": "DataflowRunner", "region": "r"}, None),
    ({"runner": "DataflowRunner", "region": "r"}, 2),
]


def work(order):
    return pickle.dumps(order * 2)


def ends_of(engine, orders):
    with engine.connect():
        tasks = engine.start(work, orders)
        while not tasks.is_done:
            ended = tasks.wait(1.0)
    return ended


def main(folder):
    said = []
    for arguments, num_workers in WRONG:
        try:
            make_engine("beam", arguments, num_workers, {})
        except ConfigError as error:
            said.append(str(error))
    arguments = {"runner": "BundleBasedDirectRunner", "temp_location": folder}
    engine = make_engine("beam", arguments, 2, {})
    ended = [each.decode() for each in ends_of(engine, [b"a", b"b"])]
    sys.stdout.write(json.dumps({"said": said, "ended": sorted(ended), "remote": engine.is_remote}))


if __name__ == "__main__":
    main(sys.argv[1])
