"""sqlmesh over a project with its kinds of models, from its own command line."""

import shutil
from pathlib import Path

PROJECT = Path(__file__).parent / "sqlmesh_project"


def test_a_plan_is_applied(tool, tmp_path, rows):
    """Seed, full, incremental by time and by key, view, and audits; its state is in DuckDB."""
    shutil.copytree(PROJECT, tmp_path, dirs_exist_ok=True)
    command = "from sqlmesh.cli.main import cli; cli()"
    tool("-c", command, "plan", "--auto-apply", "--no-prompts", package="sqlmesh")
    assert rows("SELECT name, n FROM mesh.by_name ORDER BY name") == [
        ("Ada", 1),
        ("Bob", 1),
        ("Cy", 1),
    ]
    assert rows("SELECT FORMAT_DATE('%d', day), n FROM mesh.by_day ORDER BY 1") == [
        ("01", 1),
        ("02", 2),
    ]
    assert rows("SELECT id, name FROM mesh.latest ORDER BY id") == [
        (1, "Ada"),
        (2, "Bob"),
        (3, "Cy"),
    ]
    assert rows("SELECT id FROM mesh.ids ORDER BY id") == [(1,), (2,), (3,)]
