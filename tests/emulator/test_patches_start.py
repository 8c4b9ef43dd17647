import re

import pytest

from etlkit.errors import ConfigError
from etlkit.local.server.launcher import join_or_start

# Python imports a module of this name at its start, also in the server process.
SITE = """
import importlib.metadata as metadata

plain = metadata.version
metadata.version = lambda name: "9.9.9" if name == "bqemulator" else plain(name)
"""

CHANGED = """
import bqemulator.scripting.parser

class Parser(bqemulator.scripting.parser.Parser):
    _parse_create_or_sql = None

bqemulator.scripting.parser.Parser = Parser
"""


@pytest.mark.usefixtures("cold_servers")
@pytest.mark.parametrize(
    ("site", "sentence"),
    [
        (
            SITE,
            (
                r"The local server cannot start: The patches of the local server are written for "
                r"bqemulator 1\.4\.0, but 9\.9\.9 is installed: install 1\.4\.0, or check these "
                r"patches: bigquery/[^\n]*"
            ),
        ),
        (
            CHANGED,
            (
                r"The local server cannot start: Parts that the local server replaces are missing or "
                r"have changed \(bqemulator\.scripting\.parser:Parser\._parse_create_or_sql\): "
                r"check these patches: bigquery/extensions/interpreter"
            ),
        ),
    ],
    ids=["version", "source"],
)
def test_another_emulator_stops_the_start(tmp_path, monkeypatch, site, sentence):
    """The error is one sentence, which says which patches to look at."""
    (tmp_path / "sitecustomize.py").write_text(site)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ConfigError) as error:
        join_or_start(tmp_path / "local")
    assert re.fullmatch(sentence, str(error.value))
