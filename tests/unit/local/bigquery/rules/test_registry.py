import re
from pathlib import Path

import pytest

from etlkit.local.bigquery.rules import registry

TESTS = Path(__file__).parents[4] / "emulator"
RULES = registry.all_rules()


def test_each_rule_has_a_test_through_the_official_client():
    """A test names its rules with `@pytest.mark.rule`, and names no other."""
    texts = [path.read_text(encoding="utf-8") for path in TESTS.glob("test_*.py")]
    marks = re.findall(r"@pytest\.mark\.rule\(([^)]*)\)", "\n".join(texts))
    tested = set(re.findall(r'"(\w+)"', " ".join(marks)))
    assert {rule.name for rule in RULES} == tested


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_rule_says_what_it_is(rule):
    """A name of its own, a sentence, a docstring, and where BigQuery says so."""
    assert [each.name for each in RULES].count(rule.name) == 1
    assert rule.says.endswith(".")
    assert rule.check.__doc__
    assert re.match(r"https://(cloud\.google\.com/bigquery|github\.com)/", rule.source)
    assert rule.area == rule.check.__module__.rpartition(".")[2]


def test_the_function_on_the_list_is_the_one_that_refuses(monkeypatch):
    """`ask` calls what is on the list, and nothing else."""
    called = []
    asked = registry.Asked.JOB
    stand_in = registry.Rule("n", "a", asked, "says", "source", called.append)
    monkeypatch.setattr(registry, "_RULES", [stand_in])
    registry.ask(asked, "SELECT 1")
    registry.ask(registry.Asked.READ, "other")
    assert called == ["SELECT 1"]
