"""What stands before the emulator: what BigQuery has and the emulator lacks.

Every statement passes here, whichever client sends it: `seam` says what a hook is, `jobs` and
`interpreter` lead statements through, `grammar` parses what sqlglot does not know.
"""

from __future__ import annotations


def apply() -> None:
    """Stand before the emulator. Called once, after the mends."""
    from etlkit.local.front import grammar, interpreter, jobs, seam, things, views
    from etlkit.local.mends.turns import OneUserEngine
    from etlkit.local.ml import hooks as ml

    grammar.apply()
    jobs.apply()
    interpreter.apply()
    OneUserEngine.starts = seam.STARTS
    # In this order: what a hook has made of a statement is what the next one sees.
    seam.STARTS.extend([things.prepare])
    seam.STATEMENTS.extend([views.create_view])
    seam.QUERIES.extend([views.expand_views])
    seam.INVOLVED.extend([views.names_such_view])
    ml.apply()
