"""dbt over a project with every kind of node, from its own command line."""

import json
import shutil
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent / "dbt_project"


@pytest.fixture
def dbt(tool, tmp_path):
    shutil.copytree(PROJECT, tmp_path, dirs_exist_ok=True)
    command = "from dbt.cli.main import cli; cli()"

    def run(*arguments: str) -> dict[str, str]:
        tool("-c", command, "--no-version-check", *arguments, package="dbt-bigquery")
        results = json.loads((tmp_path / "target" / "run_results.json").read_text())["results"]
        return {each["unique_id"].split(".")[2]: each["status"] for each in results}

    return run


def test_every_kind_of_node_twice(dbt, rows, tmp_path):
    """Seed, table, view, both incremental strategies, snapshot, tests and docs; again with new rows."""
    assert set(dbt("build").values()) == {"success", "pass"}
    assert rows("SELECT name FROM dbt_demo.upper_names ORDER BY name") == [("ADA",), ("BOB",)]
    newer = "id,name,day\n1,Ada,2026-01-01\n2,Bert,2026-01-02\n3,Cy,2026-01-03\n"
    (tmp_path / "seeds" / "people.csv").write_text(newer)
    states = dbt("build")
    assert set(states.values()) == {"success", "pass"}
    names = [("Ada",), ("Bert",), ("Cy",)]
    for table in ("people", "plain", "merged"):
        assert rows(f"SELECT name FROM dbt_demo.{table} ORDER BY id") == names
    counts = "SELECT FORMAT_DATE('%d', day), n FROM dbt_demo.{} ORDER BY day"
    assert rows(counts.format("overwritten")) == [("01", 1), ("02", 1), ("03", 1)]
    history = "SELECT name, dbt_valid_to IS NULL FROM dbt_demo.history WHERE id = 2 ORDER BY 2"
    assert rows(history) == [("Bob", False), ("Bert", True)]
    dbt("docs", "generate", "--empty-catalog")
    assert (tmp_path / "target" / "catalog.json").exists()
    manifest = json.loads((tmp_path / "target" / "manifest.json").read_text())
    assert manifest["nodes"]["model.demo.plain"]["description"] == "All people."
