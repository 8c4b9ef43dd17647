import pytest

from etlkit.local.bigquery.patches.json_texts import on_lines, written


@pytest.mark.parametrize(
    ("kind", "text", "shown"),
    [
        ("STRUCT(BIGINT, VARCHAR)", '{"":1,"":"a"}', '{"":1,"":"a"}'),
        (
            "STRUCT(a STRUCT(BIGINT, TIMESTAMP WITH TIME ZONE)[], DECIMAL(38,9))",
            '{"a":[{"":9007199254740993,"":"2024-01-02 03:04:05.6+00"}],"":1.500000000}',
            '{"a":[{"":"9007199254740993","":"2024-01-02T03:04:05.600Z"}],"":"1.5"}',
        ),
        (
            'STRUCT("b c" BLOB, "NULL" DOUBLE)',
            '{"b c":"a\\\\x00","NULL":2.0}',
            '{"b c":"YQA=","NULL":2}',
        ),
        ("STRUCT(TIMESTAMP BIGINT)[]", '[{"TIMESTAMP":7},null]', '[{"TIMESTAMP":7},null]'),
    ],
)
def test_values_are_written_by_their_types_also_in_fields_without_names(kind, text, shown):
    assert written(text, kind, is_quoted=True) == shown


def test_members_of_one_name_have_a_line_each():
    assert on_lines('{"":1,"":{}}') == '{\n  "": 1,\n  "": {}\n}'
