"""Expressions whose values the local server and GoogleSQL's reference evaluator must agree on.

They use the functions that BigQuery documents, over ordinary and extreme values:
https://cloud.google.com/bigquery/docs/reference/standard-sql/functions-all
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

INTS: Final = ("0", "1", "-7", "3", "9223372036854775807", "-9223372036854775808", "CAST(NULL AS INT64)")
FLOATS: Final = (
    "0.0",
    "1.5",
    "2.5",
    "-2.5",
    "-0.3",
    "1e20",
    "1e308",
    "CAST('nan' AS FLOAT64)",
    "CAST('inf' AS FLOAT64)",
    "CAST('-inf' AS FLOAT64)",
    "CAST(NULL AS FLOAT64)",
)
NUMERICS: Final = (
    "NUMERIC '0'",
    "NUMERIC '1.5'",
    "NUMERIC '-2.5'",
    "NUMERIC '12.345678901'",
    "NUMERIC '99999999999999999999999999999.999999999'",
    "CAST(NULL AS NUMERIC)",
)
BIGNUMERICS: Final = ("BIGNUMERIC '0'", "BIGNUMERIC '2.5'", "BIGNUMERIC '-1.123456789012'")
BOOLS: Final = ("TRUE", "FALSE", "CAST(NULL AS BOOL)")
STRINGS: Final = (
    "''",
    "'abc'",
    "'Hello World'",
    "'Straße ÄÖ'",
    "'日本語テキスト'",
    "'a🙂b'",
    "'  pad  '",
    "CAST(NULL AS STRING)",
)
BYTES: Final = ("b''", "b'abc'", r"b'\xff\x00a'", "CAST(NULL AS BYTES)")
DATES: Final = (
    "DATE '0001-01-01'",
    "DATE '1969-12-31'",
    "DATE '2024-02-29'",
    "DATE '2021-01-03'",
    "DATE '2018-12-31'",
    "DATE '9999-12-31'",
    "CAST(NULL AS DATE)",
)
TIMES: Final = ("TIME '00:00:00'", "TIME '12:34:56.789012'", "TIME '23:59:59.999999'", "CAST(NULL AS TIME)")
DATETIMES: Final = (
    "DATETIME '0001-01-01 00:00:00'",
    "DATETIME '1969-12-31 23:59:59.999999'",
    "DATETIME '2024-02-29 12:34:56.789'",
    "DATETIME '2021-01-03 00:00:00'",
    "DATETIME '9999-12-31 23:59:59.999999'",
    "CAST(NULL AS DATETIME)",
)
TIMESTAMPS: Final = (
    "TIMESTAMP '0001-01-01 00:00:00+00'",
    "TIMESTAMP '1969-12-31 23:59:59.999999+00'",
    "TIMESTAMP '2024-02-29 12:34:56.789+00'",
    "TIMESTAMP '2021-01-03 05:00:00+09:00'",
    "TIMESTAMP '9999-12-31 23:59:59.999999+00'",
    "CAST(NULL AS TIMESTAMP)",
)
INTERVALS: Final = (
    "INTERVAL 1 DAY",
    "INTERVAL -14 MONTH",
    "INTERVAL '1-2 3 4:5:6.789' YEAR TO SECOND",
    "CAST(NULL AS INTERVAL)",
)
JSONS: Final = (
    "JSON 'null'",
    "JSON 'true'",
    "JSON '1'",
    "JSON '-1.5'",
    "JSON '\"text\"'",
    "JSON '[1, \"two\", null]'",
    "JSON '{\"b\": {\"c\": [1, 2]}, \"a\": null}'",
    "CAST(NULL AS JSON)",
)
OF_TYPE: Final = {
    "INT64": INTS,
    "FLOAT64": FLOATS,
    "NUMERIC": NUMERICS,
    "BIGNUMERIC": BIGNUMERICS,
    "BOOL": BOOLS,
    "STRING": STRINGS,
    "BYTES": BYTES,
    "DATE": DATES,
    "TIME": TIMES,
    "DATETIME": DATETIMES,
    "TIMESTAMP": TIMESTAMPS,
    "INTERVAL": INTERVALS,
    "JSON": JSONS,
}
CASTS: Final = {
    *itertools.permutations(("INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC", "STRING"), 2),
    *itertools.product(OF_TYPE, ("STRING",)),
    *itertools.permutations(("DATE", "DATETIME", "TIMESTAMP"), 2),
    ("BOOL", "INT64"),
    ("INT64", "BOOL"),
    ("DATETIME", "TIME"),
    ("TIMESTAMP", "TIME"),
    ("STRING", "BYTES"),
}
"""Casts that GoogleSQL has, with all values of the source; of the others one value shows the refusal."""
DATE_PARTS: Final = ("DAY", "WEEK", "WEEK(MONDAY)", "WEEK(THURSDAY)", "ISOWEEK", "MONTH", "QUARTER", "YEAR", "ISOYEAR")
TIME_PARTS: Final = ("MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR")


def grid(template: str, *choices: Sequence[str]) -> Iterator[str]:
    """The template with each combination of the choices in its `{}`."""
    for chosen in itertools.product(*choices):
        yield template.format(*chosen)


def casts() -> Iterator[str]:
    """Casts between all types."""
    for source, values in OF_TYPE.items():
        for target in OF_TYPE:
            if target == source:
                continue
            few = values if (source, target) in CASTS else values[1:2]
            yield from (f"CAST({value} AS {target})" for value in few)
    texts = {
        "INT64": ("12", "-0x1F", " 7 ", "1.5", "9223372036854775808", "", "+3", "1e3", "0x", "007"),
        "FLOAT64": ("1.5", "1e400", "-inf", "NaN", "abc", ".5", "5.", "+1", "infinity", "-0", "1e-400"),
        "NUMERIC": ("1.5", "1e10", "1.1234567895", "-1.1234567894", "1e30", "x", "0.1e1", "+7"),
        "BIGNUMERIC": ("1.5", "1e10", "1.12345678901234567895", "x"),
        "BOOL": ("true", "FALSE", "t", "1", "yes", "TrUe", " true"),
        "DATE": ("2024-02-29", "2023-02-29", "2024-2-9", "20240229", "2024-02-29 10:00:00", "x", "10000-01-01"),
        "TIME": ("10:20:30", "10:20:30.123456", "1:2:3", "24:00:00", "10:20", "x"),
        "DATETIME": ("2024-02-29 10:20:30", "2024-02-29T10:20:30.5", "2024-02-29", "2024-13-01", "2024-02-29 1:2:3"),
        "TIMESTAMP": (
            "2024-02-29 10:20:30",
            "2024-02-29 10:20:30+09",
            "2024-02-29T10:20:30.123456Z",
            "2024-02-29 10:20:30 America/New_York",
            "2024-02-29",
            "2024-02-29 10:20:30 UTC",
            "2024-02-30",
        ),
        "BYTES": ("abc", "é", ""),
        "INTERVAL": ("1-2 3 4:5:6", "0-0 1 0:0:0", "P1Y2M3DT4H5M6S"),
    }
    for target, written in texts.items():
        yield from (f"CAST('{text}' AS {target})" for text in written)
        yield from (f"SAFE_CAST('{text}' AS {target})" for text in written)
    yield from grid("CAST({} AS STRING)", ("1.0", "0.1", "1e15", "1e16", "1e21", "123456789.125", "-0.0", "1e-7", "3.0e-5", "100000.0", "1/3.0"))
    yield from grid("CAST({} AS INT64)", ("0.5", "1.5", "-0.5", "-1.5", "1e19", "0.49999999999999994", "NUMERIC '0.5'", "NUMERIC '-1.5'", "BIGNUMERIC '2.5'"))
    yield from grid("SAFE_CAST({} AS {})", ("1e19", "'x'", "CAST('nan' AS FLOAT64)", "TRUE"), ("INT64", "NUMERIC"))
    yield from (
        "CAST(b'\\xff' AS STRING)",
        "SAFE_CAST(b'\\xff' AS STRING)",
        "CAST(1 AS BOOL)",
        "CAST(0 AS BOOL)",
        "CAST(2.5 AS NUMERIC)",
        "CAST(0.1 AS NUMERIC)",
        "CAST(NUMERIC '1.50' AS STRING)",
        "CAST(NUMERIC '100' AS STRING)",
        "CAST([1, 2] AS ARRAY<FLOAT64>)",
        "CAST([] AS ARRAY<STRING>)",
        "CAST(STRUCT(1, 'a') AS STRUCT<x FLOAT64, y STRING>)",
        "CAST('12' AS STRING(2))",
        "CAST(NUMERIC '12.345' AS NUMERIC(5, 2))",
        "CAST(NUMERIC '1234.5' AS NUMERIC(5, 2))",
        "CAST('abc' AS STRING(2))",
        "CAST(DATE '2024-02-29' AS STRING FORMAT 'YYYY/MM/DD')",
        "CAST('2024/02/29' AS DATE FORMAT 'YYYY/MM/DD')",
        "CAST(TIMESTAMP '2024-02-29 12:34:56+00' AS STRING FORMAT 'YYYY-MM-DD HH24:MI:SS TZH:TZM')",
        "CAST(b'\\x48' AS STRING FORMAT 'HEX')",
        "CAST('4869' AS BYTES FORMAT 'HEX')",
        "CAST(123.45 AS STRING FORMAT '999.9')",
    )


def arithmetic() -> Iterator[str]:
    """Operators on numbers: results, types, overflow, division."""
    ints = ("0", "7", "-7", "9223372036854775807", "CAST(NULL AS INT64)")
    for operator in ("+", "-", "*", "/"):
        yield from grid("{} " + operator + " {}", ints, ints)
        yield from grid("{} " + operator + " {}", ("1.5", "1e308", FLOATS[7]), ("2.0", "1e308", "0.0"))
        yield from grid("{} " + operator + " {}", NUMERICS[1:5], ("NUMERIC '3'", "2", "0.5"))
        yield from grid("{} " + operator + " {}", BIGNUMERICS[1:], ("BIGNUMERIC '3'", "2", "NUMERIC '0.5'"))
    for function in ("DIV", "MOD", "SAFE_ADD", "SAFE_SUBTRACT", "SAFE_MULTIPLY", "SAFE_DIVIDE", "IEEE_DIVIDE"):
        yield from grid(function + "({}, {})", ints, ("0", "2", "-1", "9223372036854775807"))
    for function in ("SAFE_ADD", "SAFE_SUBTRACT", "SAFE_MULTIPLY", "SAFE_DIVIDE", "IEEE_DIVIDE"):
        yield from grid(function + "({}, {})", ("1.5", "1e308"), ("1e308", "0.0"))
    yield from grid("MOD({}, {})", ("NUMERIC '7.5'", "NUMERIC '-7.5'"), ("NUMERIC '2'", "NUMERIC '0'"))
    yield from grid("DIV({}, {})", ("NUMERIC '7.5'", "NUMERIC '-7.5'"), ("NUMERIC '2'", "NUMERIC '0'"))
    yield from grid("{}({})", ("SAFE_NEGATE", "-", "ABS", "SIGN", "+"), (*INTS, *FLOATS[1:4], *NUMERICS[1:3]))
    yield from grid("{} {} {}", ("5", "-5"), ("&", "|", "^"), ("3", "-1"))
    yield from grid("{} {} {}", ("1", "-1"), ("<<", ">>"), ("1", "63", "64", "-1"))
    yield from ("~5", "~0", "BIT_COUNT(7)", "BIT_COUNT(-1)", "BIT_COUNT(b'\\xff')", "b'\\x0f' & b'\\xf1'", "~b'\\x0f'")
    for operator in ("=", "<", ">=", "!=", "IS DISTINCT FROM"):
        yield from grid("{} " + operator + " {}", ("1", "CAST(NULL AS INT64)", FLOATS[7], "1.0"), ("1", FLOATS[7], "CAST(NULL AS INT64)"))
    yield from grid("GREATEST({}, {})", ("1", "1.5", FLOATS[7]), ("2", "CAST(NULL AS INT64)", "NUMERIC '1.5'"))
    yield from grid("LEAST({}, {})", ("1", "1.5", FLOATS[7]), ("2", "CAST(NULL AS INT64)", "NUMERIC '1.5'"))
    yield from ("1 + 2.5", "1 + NUMERIC '2'", "3 / 2", "6 / 2", "7.0 / 2", "2 * NUMERIC '1.5'", "1e0", "0x1F", "-9223372036854775808", "9223372036854775808")
    yield from ("TRUE AND NULL", "FALSE AND NULL", "TRUE OR NULL", "NOT NULL", "NOT TRUE", "1 IN (1, NULL)", "2 IN (1, NULL)", "2 NOT IN (1, 3)", "1 BETWEEN 0 AND 2", "NULL IS NULL", "(1, 2) = (1, 2)", "(1, 2) IN ((1, 2), (3, 4))", "'a' < 'B'", "'é' > 'z'", "b'a' < b'b'")


def mathematics() -> Iterator[str]:
    """Mathematical functions."""
    for function in ("CEIL", "FLOOR", "ROUND", "TRUNC"):
        yield from grid(function + "({})", (*FLOATS, *NUMERICS, "BIGNUMERIC '-2.5'", "7"))
    yield from grid("ROUND({}, {})", ("2.675", "-1234.5", "1.005", "NUMERIC '2.675'", "NUMERIC '-1234.565'", "15"), ("0", "1", "2", "-1", "-2"))
    yield from grid("TRUNC({}, {})", ("2.675", "-1234.5", "NUMERIC '2.675'"), ("0", "1", "-2"))
    yield from grid("ROUND({}, {}, {})", ("NUMERIC '2.25'", "NUMERIC '-2.5'"), ("0", "1"), ("'ROUND_HALF_EVEN'", "'ROUND_HALF_AWAY_FROM_ZERO'"))
    floats = ("0.0", "0.5", "-0.5", "1.0", "2.0", "-1.0", "1000.0", FLOATS[7], FLOATS[8], FLOATS[9], FLOATS[10])
    for function in ("SQRT", "CBRT", "EXP", "LN", "LOG10", "SIN", "COS", "TAN", "ASIN", "ACOS", "ATAN", "SINH", "COSH", "TANH", "ASINH", "ACOSH", "ATANH", "COT", "CSC", "SEC", "COTH", "CSCH", "SECH"):
        yield from grid(function + "({})", floats)
    for function in ("SQRT", "EXP", "LN", "LOG10"):
        yield from grid(function + "({})", ("NUMERIC '2'", "NUMERIC '0'", "BIGNUMERIC '2'", "4"))
    yield from grid("POW({}, {})", ("2", "2.0", "-8.0", "0.0", "NUMERIC '2.5'", FLOATS[8]), ("3", "0.5", "-1", "0", "1e4"))
    yield from grid("LOG({}, {})", ("8", "0.5", "-1", "NUMERIC '8'"), ("2", "10", "1", "0"))
    yield from ("LOG(8)", "LN(8)", "POWER(2, 10)", "ATAN2(1, 0)", "ATAN2(-0.0, -1)", "ATAN2(0, 0)")
    yield from grid("{}({})", ("IS_NAN", "IS_INF"), FLOATS[:1] + FLOATS[7:])
    yield from grid("RANGE_BUCKET({}, [0, 10, 20])", ("-1", "0", "15", "20", "99", "NULL"))
    yield from ("RANGE_BUCKET(1, CAST([] AS ARRAY<INT64>))", "RANGE_BUCKET(1.5, [1.0, 2.0])", "SAFE.SQRT(-1)", "SAFE.LN(0)", "SAFE.LOG(-1, 2)", "SAFE.POW(0, -1)", "SAFE.EXP(1000)", "RAND() < 1", "COSINE_DISTANCE([1.0, 2.0], [3.0, 4.0])", "EUCLIDEAN_DISTANCE([1.0, 2.0], [3.0, 4.0])")


def strings() -> Iterator[str]:
    """String and bytes functions."""
    for function in ("LENGTH", "CHAR_LENGTH", "BYTE_LENGTH", "OCTET_LENGTH", "UPPER", "LOWER", "REVERSE", "INITCAP", "TRIM", "LTRIM", "RTRIM", "ASCII", "UNICODE", "TO_CODE_POINTS", "SOUNDEX", "TO_BASE64", "TO_HEX"):
        values = STRINGS if function not in {"TO_BASE64", "TO_HEX"} else BYTES
        yield from grid(function + "({})", values)
    yield from grid("{}({})", ("LENGTH", "BYTE_LENGTH", "UPPER", "LOWER", "REVERSE", "TO_CODE_POINTS", "MD5", "SHA1", "SHA256", "SHA512", "FARM_FINGERPRINT", "SAFE_CONVERT_BYTES_TO_STRING"), BYTES)
    yield from grid("{}({})", ("MD5", "SHA1", "SHA256", "SHA512", "FARM_FINGERPRINT"), STRINGS[1:5])
    yield from grid("SUBSTR({}, {})", STRINGS[1:6], ("1", "0", "2", "-2", "99", "-99", "NULL"))
    yield from grid("SUBSTR({}, {}, {})", ("'abcdef'", "'日本語'", r"b'\x01\x02\x03'"), ("1", "0", "-2", "3"), ("0", "1", "2", "99", "-1"))
    yield from grid("{}({}, {})", ("LEFT", "RIGHT"), (*STRINGS[1:6], "b'abc'"), ("0", "2", "99", "-1"))
    yield from grid("{}({}, {})", ("LPAD", "RPAD"), ("'abc'", "'日本'", "''", "b'ab'"), ("0", "2", "5", "-1"))
    yield from grid("{}({}, {}, {})", ("LPAD", "RPAD"), ("'abc'", "'日本'"), ("2", "7"), ("'xy'", "'é'", "''"))
    yield from grid("REPEAT({}, {})", ("'ab'", "'é'", "b'x'", "''"), ("0", "3", "-1", "NULL"))
    yield from grid("STRPOS({}, {})", (*STRINGS[1:6], STRINGS[7]), ("'b'", "''", "'本'", "'🙂'", "'ll'"))
    yield from grid("INSTR({}, {})", ("'banana'", "'日本日本'"), ("'a'", "'本'", "'x'", "''"))
    yield from grid("INSTR('banana', 'an', {})", ("1", "2", "3", "-1", "-3", "0"))
    yield from grid("INSTR('banana', 'an', {}, {})", ("1", "-1"), ("1", "2", "3", "0"))
    yield from grid("{}({}, {})", ("STARTS_WITH", "ENDS_WITH"), ("'Hello'", "''", "'日本語'", STRINGS[7]), ("'He'", "'lo'", "''", "'語'", "NULL"))
    yield from grid("REPLACE({}, {}, {})", ("'banana'", "'日本'"), ("'an'", "''", "'本'"), ("'-'", "''"))
    yield from grid("SPLIT({}, {})", ("'a,b,,c'", "''", "'日,本'", "CAST(NULL AS STRING)"), ("','", "''", "'x'", "',,'"))
    yield from ("SPLIT('a,b')", "SPLIT(b'a-b', b'-')", "SPLIT('a,b', NULL)")
    yield from grid("TRANSLATE({}, {}, {})", ("'banana'", "'日本'"), ("'an'", "'本'", "''"), ("'xy'", "'x'", "''"))
    yield from grid("{}({}, {})", ("TRIM", "LTRIM", "RTRIM"), ("'xxaxx'", "'日本日'", "'  a  '"), ("'x'", "'日'", "' a'", "''"))
    yield from ("TRIM(b' a ', b' ')", "LTRIM(b'xxa', b'x')")
    yield from grid("CONCAT({}, {})", ("'a'", "''", STRINGS[7], "'日'"), ("'b'", STRINGS[7]))
    yield from ("CONCAT(b'a', b'b')", "'a' || 'b'", "'a' || NULL", "b'a' || b'b'", "CONCAT('a', 'b', 'c')", "CONCAT(1, 'a')", "'a' || 1", "[1] || [2]")
    yield from grid("CHR({})", ("65", "0x65E5", "128578", "0", "-1", "1114112", "NULL", "55296"))
    yield from grid("CODE_POINTS_TO_STRING({})", ("[65, 66]", "[26085]", "CAST([] AS ARRAY<INT64>)", "[NULL, 65]", "[-1]"))
    yield from grid("CODE_POINTS_TO_BYTES({})", ("[65, 255]", "[256]", "CAST([] AS ARRAY<INT64>)"))
    yield from grid("{}({})", ("FROM_BASE64", "FROM_HEX"), ("'YWJj'", "'616263'", "'!'", "''", "NULL", "'abc'"))
    yield from ("TO_BASE64(b'\\xff\\xfe')", "TO_HEX(b'\\xff\\xfe')", "SAFE_CONVERT_BYTES_TO_STRING(b'\\xffa')")
    yield from grid("EDIT_DISTANCE({}, {})", ("'kitten'", "''", "'日本'"), ("'sitting'", "'日木'"))
    yield from ("EDIT_DISTANCE('kitten', 'sitting', max_distance => 2)",)
    yield from grid("INITCAP({}, {})", ("'hello-world foo'",), ("'-'", "' '", "''"))
    yield from ("'abc' LIKE 'a%'", "'abc' LIKE '_b_'", r"'a%c' LIKE 'a\\%c'", "'ABC' LIKE 'abc'", "'日本' LIKE '_本'", "'a\\nb' LIKE 'a%b'", "'' LIKE ''", "NULL LIKE 'a'", "'abc' NOT LIKE 'b%'", "b'abc' LIKE b'a%'", "'abc' LIKE ANY ('x%', 'a%')", "'abc' LIKE ALL ('a%', '%d')")
    yield from ("LENGTH('\\u0000a')", "'\\x41\\101\\u00e9\\U0001F642'", "r'\\n'", "'''a'b'''", '"it\'s"', "'a' 'b'", "b'\\x00\\xff'", "rb'\\x'", "'tab\\there'", "'\\?\\\"\\`'")


def regular_expressions() -> Iterator[str]:
    """Regular expressions."""
    subjects = ("'abc123def456'", "''", "'日本語123'", "CAST(NULL AS STRING)", "'ABC'")
    yield from grid("REGEXP_CONTAINS({}, {})", subjects, ("r'\\d+'", "r'^[a-z]'", "''", "r'(?i)abc'", "r'本'", "r'['"))
    yield from grid("REGEXP_EXTRACT({}, {})", subjects, ("r'\\d+'", "r'([a-z]+)\\d'", "''", "r'x(y)?'", "r'(a)(b)'"))
    yield from grid("REGEXP_EXTRACT('abcabc1abc2', r'abc\\d?', {})", ("1", "2", "4", "12", "0", "99"))
    yield from grid("REGEXP_EXTRACT('abcabc1abc2', r'abc\\d?', {}, {})", ("1", "2"), ("1", "2", "3", "9", "0"))
    yield from grid("REGEXP_EXTRACT_ALL({}, {})", subjects, ("r'\\d+'", "r'([a-z]+)\\d'", "''", "r'z'"))
    yield from grid("REGEXP_REPLACE({}, {}, {})", subjects[:3], ("r'\\d+'", "r'([a-z]+)(\\d)'", "''"), ("'X'", r"r'\2\1'", "''", r"r'\0\\'"))
    yield from grid("REGEXP_INSTR({}, {})", subjects[:3], ("r'\\d+'", "r'z'", "r'[a-z](\\d)'"))
    yield from grid("REGEXP_INSTR('a1b2c3', r'\\d', {}, {}, {})", ("1", "3"), ("1", "2", "5"), ("0", "1"))
    yield from grid("REGEXP_SUBSTR({}, {})", subjects[:3], ("r'\\d+'",))
    yield from ("REGEXP_CONTAINS(b'abc', b'b')", "REGEXP_EXTRACT(b'abc', b'(b)')", "REGEXP_REPLACE(b'abc', b'b', b'x')", "REGEXP_EXTRACT_ALL(b'abab', b'a')", r"REGEXP_CONTAINS('a\nb', r'a.b')", "REGEXP_CONTAINS('foo@bar.com', r'@[a-zA-Z0-9-]+\\.com$')")


def dates() -> Iterator[str]:
    """Functions of dates."""
    for part in DATE_PARTS:
        yield from grid("DATE_TRUNC({}, {})", DATES[1:], (part,))
        yield from grid("DATE_DIFF({}, {}, {})", ("DATE '2024-03-01'", "DATE '2021-01-03'"), ("DATE '2018-12-31'", "DATE '2021-01-02'", "DATE '2024-03-01'"), (part,))
        yield from grid("LAST_DAY({}, {})", ("DATE '2024-02-29'", "DATE '2021-01-03'", "DATE '2018-12-31'"), (part,) if part != "DAY" else ("MONTH",))
    for part in (*DATE_PARTS, "DAYOFWEEK", "DAYOFYEAR"):
        yield from grid("EXTRACT({} FROM {})", (part,), (DATES[0], *DATES[2:6]))
    for part in ("DAY", "WEEK", "MONTH", "QUARTER", "YEAR"):
        yield from grid("DATE_ADD({}, INTERVAL {} {})", DATES[1:4], ("1", "-1", "13", "CAST(NULL AS INT64)"), (part,))
        yield from grid("DATE_SUB({}, INTERVAL {} {})", ("DATE '2024-02-29'", "DATE '0001-01-01'"), ("1", "40"), (part,))
    yield from grid("DATE_ADD({}, INTERVAL 1 DAY)", ("DATE '9999-12-31'",))
    yield from grid("{}({})", ("LAST_DAY", "UNIX_DATE"), DATES)
    yield from grid("DATE({})", (*DATETIMES[2:4], *TIMESTAMPS[2:4], "'2024-02-29'"))
    yield from ("DATE(2024, 2, 29)", "DATE(2023, 2, 29)", "DATE(TIMESTAMP '2024-02-29 23:00:00+00', 'Asia/Tokyo')", "DATE_FROM_UNIX_DATE(19000)", "DATE_FROM_UNIX_DATE(-1)", "DATE '2024-02-29' + 1", "DATE '2024-02-29' - 1", "1 + DATE '2024-02-29'", "DATE '2024-03-01' - DATE '2024-02-01'", "DATE '2024-02-29' < DATE '2024-03-01'", "DATE '2024-02-29' = '2024-02-29'", "CURRENT_DATE() > DATE '2020-01-01'", "DATE_BUCKET(DATE '2024-02-29', INTERVAL 7 DAY)", "GENERATE_DATE_ARRAY(DATE '2024-01-30', DATE '2024-02-02')", "GENERATE_DATE_ARRAY(DATE '2024-01-31', DATE '2024-05-31', INTERVAL 1 MONTH)", "GENERATE_DATE_ARRAY(DATE '2024-01-31', DATE '2024-01-01', INTERVAL -1 WEEK)", "GENERATE_DATE_ARRAY(DATE '2024-01-31', DATE '2024-01-01')", "GENERATE_DATE_ARRAY(NULL, DATE '2024-01-01')")
    for element in ("%Y-%m-%d", "%A %a %B %b", "%j", "%U %W %V %G %u %w", "%e|%d", "%y %C", "%D", "%F", "%x", "%Q", "%h", "%E4Y", "%%", "%n%t|", "%g"):
        yield from grid("FORMAT_DATE('" + element + "', {})", ("DATE '2024-02-29'", "DATE '2021-01-03'", "DATE '2018-12-31'"))
    yield from grid("FORMAT_DATE({}, {})", ("'%Y'", "NULL", "''"), ("DATE '0001-01-01'", "CAST(NULL AS DATE)"))
    yield from (f"PARSE_DATE('{pattern}', '{text}')" for pattern, text in (("%Y-%m-%d", "2024-02-29"), ("%Y-%m-%d", "2024-2-9"), ("%Y%m%d", "20240229"), ("%d/%m/%y", "29/02/24"), ("%d/%m/%y", "29/02/70"), ("%b %e, %Y", "Feb 29, 2024"), ("%B %d %Y", "february 9 2024"), ("%A, %Y-%m-%d", "Monday, 2024-02-29"), ("%x", "02/29/24"), ("%j %Y", "60 2024"), ("%Y", "2024"), ("%Y-%m-%d", "2024-02-30"), ("%Y-%m-%d", "2024-02-29x"), ("%m", "7"), ("%Y-%m-%d", " 2024-02-29 "), ("", "")))


def times() -> Iterator[str]:
    """Functions of times."""
    for part in TIME_PARTS:
        yield from grid("TIME_TRUNC({}, {})", TIMES[1:], (part,))
        yield from grid("EXTRACT({} FROM {})", (part,), TIMES[1:3])
        yield from grid("TIME_DIFF({}, {}, {})", ("TIME '12:34:56.789012'", "TIME '00:00:00'"), ("TIME '11:59:59.9'", "TIME '23:00:00'"), (part,))
        yield from grid("TIME_ADD({}, INTERVAL {} {})", TIMES[1:3], ("1", "-100"), (part,))
        yield from grid("TIME_SUB({}, INTERVAL {} {})", TIMES[:1], ("1", "25"), (part,))
    yield from ("TIME(12, 34, 56)", "TIME(24, 0, 0)", "TIME(DATETIME '2024-02-29 12:34:56.789')", "TIME(TIMESTAMP '2024-02-29 12:34:56+00', 'Asia/Tokyo')", "TIME(TIMESTAMP '2024-02-29 12:34:56+00')", "TIME '10:00:00' < TIME '10:00:01'", "EXTRACT(TIME FROM DATETIME '2024-02-29 12:34:56.789')")
    for element in ("%H:%M:%S", "%I:%M %p", "%T", "%R", "%E3S", "%E*S", "%k|%l", "%P", "%r", "%X"):
        yield from grid("FORMAT_TIME('" + element + "', {})", TIMES)
    yield from (f"PARSE_TIME('{pattern}', '{text}')" for pattern, text in (("%H:%M:%S", "12:34:56"), ("%H:%M", "12:34"), ("%I:%M %p", "02:34 PM"), ("%T", "1:2:3"), ("%E*S", "5.123456"), ("%H:%M:%E*S", "12:34:56.789"), ("%H", "25"), ("%R", "12:34"), ("%I%p", "12am")))


def datetimes() -> Iterator[str]:
    """Functions of datetimes."""
    for part in (*DATE_PARTS, *TIME_PARTS):
        yield from grid("DATETIME_TRUNC({}, {})", DATETIMES[1:4], (part,))
        yield from grid("EXTRACT({} FROM {})", (part,), DATETIMES[1:3])
        yield from grid("DATETIME_DIFF({}, {}, {})", ("DATETIME '2024-03-01 00:00:00'", "DATETIME '2021-01-03 12:30:00'"), ("DATETIME '2024-02-29 23:59:59.5'", "DATETIME '2021-01-02 23:00:00'"), (part,))
    for part in ("MICROSECOND", "SECOND", "HOUR", "DAY", "WEEK", "MONTH", "QUARTER", "YEAR"):
        yield from grid("DATETIME_ADD({}, INTERVAL {} {})", DATETIMES[2:4], ("1", "-25"), (part,))
        yield from grid("DATETIME_SUB({}, INTERVAL {} {})", ("DATETIME '2024-03-31 01:00:00'",), ("1", "13"), (part,))
    yield from ("DATETIME(2024, 2, 29, 12, 34, 56)", "DATETIME(DATE '2024-02-29')", "DATETIME(DATE '2024-02-29', TIME '12:00:00')", "DATETIME(TIMESTAMP '2024-02-29 12:34:56+00')", "DATETIME(TIMESTAMP '2024-02-29 12:34:56+00', 'Asia/Tokyo')", "DATETIME('2024-02-29 12:34:56')", "LAST_DAY(DATETIME '2024-02-29 12:34:56')", "LAST_DAY(DATETIME '2024-02-28 12:34:56', WEEK(MONDAY))", "EXTRACT(DATE FROM DATETIME '2024-02-29 12:34:56')", "EXTRACT(DAYOFWEEK FROM DATETIME '2024-02-29 12:34:56')", "DATETIME '2024-02-29 12:00:00' - DATETIME '2024-02-28 00:00:00'", "DATETIME '2024-02-29 12:00:00' + INTERVAL 1 HOUR", "CURRENT_DATETIME() > DATETIME '2020-01-01'", "DATETIME_BUCKET(DATETIME '2024-02-29 12:34:00', INTERVAL 12 HOUR)")
    for element in ("%Y-%m-%d %H:%M:%S", "%c", "%s", "%E6S", "%FT%T", "%Z", "%z", "%b-%d-%Y %I:%M:%S %p", "%Q %j %U"):
        yield from grid("FORMAT_DATETIME('" + element + "', {})", DATETIMES[2:4])
    yield from (f"PARSE_DATETIME('{pattern}', '{text}')" for pattern, text in (("%Y-%m-%d %H:%M:%S", "2024-02-29 12:34:56"), ("%Y-%m-%d %I:%M %p", "2024-02-29 02:34 PM"), ("%s", "1709210096"), ("%c", "Thu Feb 29 12:34:56 2024"), ("%Y", "2024")))


def timestamps() -> Iterator[str]:
    """Functions of timestamps."""
    for part in (*DATE_PARTS, *TIME_PARTS):
        yield from grid("TIMESTAMP_TRUNC({}, {})", TIMESTAMPS[1:4], (part,))
        yield from grid("EXTRACT({} FROM {})", (part,), TIMESTAMPS[1:3])
    yield from grid("TIMESTAMP_TRUNC({}, {}, {})", ("TIMESTAMP '2024-03-31 12:34:56.789+00'", "TIMESTAMP '2024-03-10 06:59:59+00'"), ("DAY", "HOUR", "WEEK", "MONTH", "ISOYEAR"), ("'Asia/Tokyo'", "'America/New_York'", "'+05:30'"))
    yield from grid("EXTRACT({} FROM {} AT TIME ZONE {})", ("HOUR", "DATE", "DAYOFWEEK", "TIME", "DATETIME", "WEEK"), ("TIMESTAMP '2024-03-31 23:34:56.789+00'",), ("'Asia/Tokyo'", "'America/New_York'"))
    for part in ("MICROSECOND", "MILLISECOND", "SECOND", "MINUTE", "HOUR", "DAY"):
        yield from grid("TIMESTAMP_DIFF({}, {}, {})", ("TIMESTAMP '2024-03-01 00:30:00+00'", "TIMESTAMP '2021-01-03 12:30:00.5+00'"), ("TIMESTAMP '2024-02-29 23:59:59.5+00'", "TIMESTAMP '2021-01-02 23:00:00+00'"), (part,))
        yield from grid("TIMESTAMP_ADD({}, INTERVAL {} {})", TIMESTAMPS[2:4], ("1", "-25"), (part,))
        yield from grid("TIMESTAMP_SUB({}, INTERVAL {} {})", ("TIMESTAMP '2024-03-31 01:00:00+00'",), ("1", "13"), (part,))
    yield from ("TIMESTAMP_ADD(TIMESTAMP '9999-12-31 23:59:59+00', INTERVAL 1 DAY)", "TIMESTAMP_DIFF(TIMESTAMP '2024-02-29', TIMESTAMP '2024-01-01', MONTH)", "TIMESTAMP_SUB(TIMESTAMP '0001-01-01 00:00:00+00', INTERVAL 1 SECOND)")
    yield from grid("{}({})", ("UNIX_SECONDS", "UNIX_MILLIS", "UNIX_MICROS"), TIMESTAMPS)
    yield from grid("{}({})", ("TIMESTAMP_SECONDS", "TIMESTAMP_MILLIS", "TIMESTAMP_MICROS"), ("0", "-1", "1709210096", "9223372036854775807", "NULL"))
    yield from grid("TIMESTAMP({})", ("DATE '2024-02-29'", "DATETIME '2024-02-29 12:34:56.789'", "'2024-02-29 12:34:56+09'", "'2024-02-29'"))
    yield from grid("TIMESTAMP({}, 'America/New_York')", ("DATE '2024-02-29'", "DATETIME '2024-03-10 02:30:00'", "DATETIME '2024-11-03 01:30:00'", "'2024-02-29 12:34:56'"))
    yield from grid("STRING({})", (*TIMESTAMPS[1:4], "DATE '2024-02-29'", "DATETIME '2024-02-29 12:34:56.789'", "TIME '12:34:56'"))
    yield from grid("STRING({}, {})", (*TIMESTAMPS[1:4],), ("'Asia/Tokyo'", "'America/New_York'", "'UTC'"))
    for element in ("%Y-%m-%d %H:%M:%S %Z", "%c", "%s", "%E3S", "%FT%TZ", "%z", "%Ez", "%A", "%I:%M %p", "%D %R", "%E*S"):
        yield from grid("FORMAT_TIMESTAMP('" + element + "', {})", TIMESTAMPS[1:4])
        yield from grid("FORMAT_TIMESTAMP('" + element + "', {}, 'America/New_York')", TIMESTAMPS[2:3])
    yield from (f"PARSE_TIMESTAMP('{pattern}', '{text}')" for pattern, text in (("%Y-%m-%d %H:%M:%S", "2024-02-29 12:34:56"), ("%Y-%m-%d %H:%M:%S%z", "2024-02-29 12:34:56+0900"), ("%Y-%m-%d %H:%M:%S %Z", "2024-02-29 12:34:56 UTC"), ("%s", "1709210096"), ("%c", "Thu Feb 29 12:34:56 2024"), ("%Y", "2024"), ("%m/%d/%y %I:%M %p", "02/29/24 02:34 PM"), ("%d %b %Y", "9 Feb 2024")))
    yield from ("PARSE_TIMESTAMP('%Y-%m-%d %T', '2024-02-29 12:34:56', 'America/New_York')", "SAFE.PARSE_TIMESTAMP('%F', 'x')", "SAFE.PARSE_DATE('%F', 'x')", "SAFE.TIMESTAMP_SECONDS(9223372036854775807)", "TIMESTAMP '2024-02-29 12:34:56+00' - TIMESTAMP '2024-02-28 00:00:00+00'", "TIMESTAMP '2024-02-29 12:34:56+00' + INTERVAL 1 DAY", "TIMESTAMP '2024-02-29' < TIMESTAMP '2024-03-01'", "CURRENT_TIMESTAMP() > TIMESTAMP '2020-01-01'", "TIMESTAMP_BUCKET(TIMESTAMP '2024-02-29 12:34:00+00', INTERVAL 12 HOUR)", "GENERATE_TIMESTAMP_ARRAY(TIMESTAMP '2024-02-29 00:00:00+00', TIMESTAMP '2024-02-29 12:00:00+00', INTERVAL 6 HOUR)", "TIMESTAMP '2024-02-29 12:34:56 America/New_York'", "TIMESTAMP '2024-02-29T12:34:56Z'", "TIMESTAMP '2024-02-29'")


def intervals() -> Iterator[str]:
    """Intervals."""
    yield from INTERVALS
    yield from grid("EXTRACT({} FROM {})", ("YEAR", "MONTH", "DAY", "HOUR", "MINUTE", "SECOND"), INTERVALS[1:3])
    yield from ("MAKE_INTERVAL(1, 2, 3)", "MAKE_INTERVAL(hour => 25)", "JUSTIFY_HOURS(INTERVAL 47 HOUR)", "JUSTIFY_DAYS(INTERVAL 45 DAY)", "JUSTIFY_INTERVAL(INTERVAL '29 49:00:00' DAY TO SECOND)", "INTERVAL 1 DAY + INTERVAL 2 HOUR", "INTERVAL 3 MONTH * 2", "INTERVAL 3 DAY / 2", "-INTERVAL 1 DAY", "INTERVAL 1 MONTH = INTERVAL 30 DAY", "INTERVAL 1 DAY < INTERVAL 25 HOUR", "DATE '2024-01-31' + INTERVAL 1 MONTH", "DATE '2024-01-31' - INTERVAL 1 DAY", "DATETIME '2024-01-31 10:00:00' + INTERVAL 36 HOUR", "CAST(INTERVAL 1 DAY AS STRING)", "INTERVAL '1:2' HOUR TO MINUTE", "INTERVAL '-1-2' YEAR TO MONTH", "SUM(INTERVAL 1 DAY)")


def json() -> Iterator[str]:
    """JSON functions."""
    text = "'{\"a\": {\"b\": [1, 2.5, \"x\", null, true]}, \"c\": \"t\", \"d.e\": 1}'"
    paths = ("'$'", "'$.a'", "'$.a.b[0]'", "'$.a.b[2]'", "'$.a.b[9]'", "'$.c'", "'$.\"d.e\"'", "'$.missing'", "'$.a.b[3]'")
    for function in ("JSON_QUERY", "JSON_VALUE", "JSON_EXTRACT", "JSON_EXTRACT_SCALAR", "JSON_QUERY_ARRAY", "JSON_VALUE_ARRAY", "JSON_EXTRACT_ARRAY", "JSON_EXTRACT_STRING_ARRAY"):
        quoted = tuple(path.replace("$.\"d.e\"", "$['d.e']").replace("'$['d.e']'", "\"$['d.e']\"") if "EXTRACT" in function else path for path in paths)
        yield from grid(function + "({}, {})", (text, "JSON " + text), (*quoted, "'$.a.b'"))
        yield from grid(function + "({}, '$')", ("'not json'", "CAST(NULL AS STRING)", "'[1, 2]'"))
    for function in ("JSON_TYPE", "TO_JSON_STRING", "BOOL", "INT64", "FLOAT64", "STRING", "LAX_BOOL", "LAX_INT64", "LAX_FLOAT64", "LAX_STRING", "JSON_KEYS", "JSON_STRIP_NULLS"):
        yield from grid(function + "({})", JSONS)
    yield from grid("TO_JSON({})", ("1", "1.0", "1.5", "'a'", "TRUE", "NUMERIC '1.5'", "DATE '2024-02-29'", "TIMESTAMP '2024-02-29 12:34:56.789+00'", "[1, 2]", "STRUCT(1 AS a, [2] AS b)", "b'ab'", "CAST(NULL AS INT64)", "9007199254740993", "CAST('nan' AS FLOAT64)", "DATETIME '2024-02-29 12:34:56'", "TIME '12:34:56'", "JSON '{\"a\":1}'"))
    yield from grid("TO_JSON_STRING({})", ("1", "1.0", "1.5", "'a\"\\n'", "TRUE", "NUMERIC '1.5'", "DATE '2024-02-29'", "TIMESTAMP '2024-02-29 12:34:56.789+00'", "[1, 2]", "STRUCT(1 AS a, [2] AS b)", "b'ab'", "CAST(NULL AS INT64)", "9007199254740993", "CAST('nan' AS FLOAT64)", "DATETIME '2024-02-29 12:34:56'", "'é日'", "STRUCT('x' AS s, NULL AS n)", "CAST([] AS ARRAY<INT64>)", "1e20", "1e-10"))
    yield from ("TO_JSON_STRING(STRUCT(1 AS a, [2, 3] AS b), TRUE)", "TO_JSON(9007199254740993, stringify_wide_numbers => TRUE)")
    yield from grid("PARSE_JSON({})", ("'1'", "'1.0'", "'{\"b\": 1, \"a\": 2}'", "'[1,2]'", "'x'", "''", "NULL", "'1e400'", "'18446744073709551615'", "'\"\\\\u00e9\"'", "'NaN'", "'{\"a\":1,\"a\":2}'", "'67.174118'", "'123456789012345678901234567890'"))
    yield from ("PARSE_JSON('123456789012345678901234567890', wide_number_mode => 'round')", "SAFE.PARSE_JSON('x')")
    json_value = "JSON '{\"a\": {\"b\": [1, 2]}, \"c\": \"t\"}'"
    yield from (f"{json_value}.a.b[0]", f"{json_value}.c", f"{json_value}['c']", f"{json_value}.x", f"{json_value}.a.b[5]", f"STRING({json_value}.c)", f"INT64({json_value}.a.b[1])", f"JSON_SET({json_value}, '$.c', 1)", f"JSON_SET({json_value}, '$.z.y', 'n')", f"JSON_REMOVE({json_value}, '$.a.b[0]')", f"JSON_REMOVE({json_value}, '$.c', '$.a')", f"JSON_ARRAY_APPEND({json_value}, '$.a.b', 3)", f"JSON_ARRAY_INSERT({json_value}, '$.a.b[0]', 0)", "JSON_ARRAY(1, 'a', NULL, TRUE)", "JSON_ARRAY()", "JSON_OBJECT('a', 1, 'b', [1, 2])", "JSON_OBJECT()", "JSON_OBJECT(['a', 'b'], [1, 2])", "JSON_STRIP_NULLS(JSON '{\"a\": null, \"b\": [null, 1]}')", "JSON_CONTAINS(JSON '[1, 2]', JSON '1')", "JSON_VALUE(JSON '{\"a\": 1.0}', '$.a')", "JSON_VALUE('{\"a\": 1.0}', '$.a')", "JSON_VALUE('{\"a\": 1e2}', '$.a')", "JSON_QUERY('{\"a\":  [1,  2]}', '$.a')", "JSON_VALUE(JSON '{\"a\": \"\\\\u00e9\"}', '$.a')", "JSON_QUERY(JSON '{\"a\": \"\\\\u00e9\"}', '$.a')", "JSON_VALUE('{\"a\": \"x\"}')", "JSON_QUERY('{\"a\": \"x\"}')", "JSON '{\"a\": 1}' IS NULL")


def arrays() -> Iterator[str]:
    """Arrays."""
    values = ("[1, 2, 3]", "CAST([] AS ARRAY<INT64>)", "CAST(NULL AS ARRAY<INT64>)", "[NULL, 1]")
    yield from grid("{}({})", ("ARRAY_LENGTH", "ARRAY_REVERSE", "ARRAY_FIRST", "ARRAY_LAST", "ARRAY_IS_DISTINCT"), values)
    yield from grid("ARRAY_TO_STRING({}, {})", ("['a', NULL, 'c']", "CAST([] AS ARRAY<STRING>)", "['']"), ("','", "''", "NULL"))
    yield from grid("ARRAY_TO_STRING(['a', NULL, 'c'], {}, {})", ("','",), ("'-'", "''", "NULL"))
    yield from grid("ARRAY_CONCAT({}, {})", values[:3], values[:3])
    yield from grid("{}[{}({})]", values[:3], ("OFFSET", "ORDINAL", "SAFE_OFFSET", "SAFE_ORDINAL"), ("0", "1", "3", "-1"))
    yield from grid("{}[{}]", ("[1, 2, 3]",), ("0", "2", "3", "-1"))
    yield from grid("GENERATE_ARRAY({}, {})", ("1", "5", "1.5"), ("3", "5", "NULL"))
    yield from grid("GENERATE_ARRAY({}, {}, {})", ("1", "10"), ("5", "1"), ("2", "-3", "0", "0.5"))
    yield from grid("ARRAY_SLICE([1, 2, 3, 4], {}, {})", ("0", "1", "-2"), ("2", "-1", "9"))
    yield from ("ARRAY(SELECT x FROM UNNEST([3, 1, 2]) AS x ORDER BY x)", "ARRAY(SELECT x * 2 FROM UNNEST(CAST([] AS ARRAY<INT64>)) AS x)", "ARRAY(SELECT AS STRUCT x, o FROM UNNEST(['a', 'b']) AS x WITH OFFSET AS o ORDER BY o)", "ARRAY(SELECT offset FROM UNNEST(['a', 'b']) WITH OFFSET ORDER BY offset)", "2 IN UNNEST([1, 2])", "5 IN UNNEST([1, NULL])", "EXISTS(SELECT 1 FROM UNNEST([1]) AS x WHERE x > 1)", "(SELECT COUNT(*) FROM UNNEST([1, NULL]))", "ARRAY<INT64>[1, 2]", "ARRAY<STRING>[]", "[1, 2.5]", "[STRUCT(1 AS a), STRUCT(2)]", "[DATE '2024-02-29']", "STRUCT(1 AS a, 'x' AS b).a", "STRUCT<a INT64, b STRING>(1, 'x')", "STRUCT(1, 'x')", "STRUCT([1, 2] AS l, STRUCT(TRUE AS t) AS s)", "(SELECT AS STRUCT 1 AS a, 'x' AS b)", "ARRAY_INCLUDES([1, 2], 2)", "ARRAY_MAX([1, 3, 2])", "ARRAY_MIN([1.5, NULL])", "ARRAY_SUM([1, 2])", "ARRAY_AVG([1, 2])", "ARRAY_FILTER([1, 2, 3], e -> e > 1)", "ARRAY_TRANSFORM([1, 2], e -> e * 2)", "ARRAY(SELECT DISTINCT x FROM UNNEST([1, 1, 2]) AS x ORDER BY x)", "(SELECT ARRAY_AGG(x ORDER BY x DESC) FROM UNNEST([1, 3, 2]) AS x)", "[b'a', b'b']", "[NUMERIC '1', 2]", "ARRAY(SELECT x FROM UNNEST([1.0, 2.0]) AS x)", "ARRAY_LENGTH(SPLIT('a,b', ','))", "[[1]]", "ARRAY(SELECT [1])", "ARRAY_CONCAT([1], [2.5])", "FLATTEN([STRUCT([1,2] AS a)].a)")


def conditionals() -> Iterator[str]:
    """Conditional expressions, and functions of any type."""
    yield from ("IF(TRUE, 1, 2)", "IF(NULL, 1, 2)", "IF(FALSE, 1, 2.5)", "IFNULL(NULL, 1)", "IFNULL(1, 2.5)", "NULLIF(1, 1)", "NULLIF(1, 2)", "NULLIF(1.0, 1)", "COALESCE(NULL, NULL, 3)", "COALESCE(NULL, 'a')", "COALESCE(NULL)", "CASE 1 WHEN 1 THEN 'a' ELSE 'b' END", "CASE WHEN NULL THEN 1 END", "CASE WHEN FALSE THEN 1 ELSE 2.5 END", "CASE NULL WHEN NULL THEN 1 ELSE 2 END", "IF(TRUE, 1, 1 / 0)", "IF(FALSE, ERROR('x'), 1)", "ERROR('boom')", "NULLIFZERO(0)", "ZEROIFNULL(NULL)", "NULLIFZERO(5)", "SAFE.SUBSTR('abc', 1, -1)", "SAFE.PARSE_DATE('%Y-%m-%d', '2024-02-29')", "SAFE.DATE(2024, 13, 1)", "SAFE.DIV(1, 0)", "SAFE.MOD(1, 0)", "SAFE.REPEAT('a', -1)", "SAFE.CHR(-1)", "SAFE.FROM_HEX('x')", "SAFE.FROM_BASE64('!')", "SAFE.INT64(JSON '\"x\"')", "SAFE.DATE_ADD(DATE '9999-12-31', INTERVAL 1 DAY)", "WITH(a AS 1, a + 1)", "GENERATE_UUID() IS NOT NULL", "LENGTH(GENERATE_UUID())", "1 IS NOT NULL", "TRUE IS TRUE", "CAST(NULL AS BOOL) IS NOT TRUE", "FALSE IS FALSE")
    yield from grid("FORMAT({})", ("'%d', 42", "'%5d|%-5d|%05d', 42, 42, 42", "'%+d % d', 1, 1", "'%\\'d', 1234567", "'%x %X %o', 255, 255, 255", "'%f %.2f %10.3f', 1.5, 1.005, 2.5", "'%e %E', 12345.678, 0.00012", "'%g %G', 1e20, 0.0001", "'%s', 'abc'", "'%10s|%-10s|', 'abc', 'abc'", "'%.2s', 'abc'", "'%t', DATE '2024-02-29'", "'%T', DATE '2024-02-29'", "'%T', 'it\\'s'", "'%t', [1, 2]", "'%T', [1.0, 2.5]", "'%T', STRUCT(1, 'a')", "'%t', NULL", "'%T', TIMESTAMP '2024-02-29 12:34:56.789+00'", "'%t', TIMESTAMP '2024-02-29 12:34:56.789+00'", "'%%'", "'%p', JSON '{\"a\": 1}'", "'%P', JSON '{\"a\": 1}'", "'%T', NUMERIC '1.5'", "'%t', 1.0", "'%T', 1.0", "'%d', NULL", "'%s', NULL", "'%i', 42", "'%*d', 5, 42", "'%t %T', TRUE, FALSE", "'%T', b'a\\xff'", "'%s', b'abc'", "'%d', 1.5", "'%s', 1", "'%t', CAST('nan' AS FLOAT64)", "'%f', CAST('inf' AS FLOAT64)", "'%d %d', 1", "'%u', 1", "'%T', CAST(NULL AS STRING)", "'%t', DATETIME '2024-02-29 12:34:56'", "'%T', TIME '12:34:56'", "NULL, 1", "'%T', JSON '1'", "'é%s', '日'", "'%.3f', NUMERIC '1.23456'", "'%f', 1", "'%d%%', 50", "'%T', INTERVAL 1 DAY"))


def aggregates() -> Iterator[str]:
    """Aggregate functions."""
    inputs = {
        "INT64": ("[1, 2, 2, NULL]", "CAST([] AS ARRAY<INT64>)", "[9223372036854775807, 1]", "[-3]", "[CAST(NULL AS INT64)]"),
        "FLOAT64": ("[1.5, 2.5, NULL]", "[CAST('nan' AS FLOAT64), 1.0]", "[CAST('inf' AS FLOAT64), 1.0]", "CAST([] AS ARRAY<FLOAT64>)", "[1e308, 1e308]"),
        "NUMERIC": ("[NUMERIC '1.5', NUMERIC '2.123456789']", "[NUMERIC '99999999999999999999999999999', NUMERIC '1']", "CAST([] AS ARRAY<NUMERIC>)"),
    }
    numeric = [value for values in inputs.values() for value in values]
    for function in ("SUM", "AVG", "MIN", "MAX", "COUNT", "COUNT(DISTINCT", "SUM(DISTINCT", "AVG(DISTINCT", "STDDEV", "STDDEV_POP", "STDDEV_SAMP", "VARIANCE", "VAR_POP", "VAR_SAMP"):
        call = f"{function} x)" if "(" in function else f"{function}(x)"
        yield from (f"(SELECT {call} FROM UNNEST({value}) AS x)" for value in numeric)
    for function in ("ARRAY_AGG", "ANY_VALUE", "STRING_AGG", "MIN", "MAX", "COUNT"):
        for value in ("['b', 'a', NULL]", "CAST([] AS ARRAY<STRING>)", "['é', 'z']"):
            order = " ORDER BY x" if function in {"ARRAY_AGG", "STRING_AGG"} else ""
            ignore = " IGNORE NULLS" if function == "ARRAY_AGG" else ""
            if function != "ANY_VALUE" or "NULL" not in value:
                single = value if function != "ANY_VALUE" else value.replace("['é', 'z']", "['é']")
                yield f"(SELECT {function}(x{ignore}{order}) FROM UNNEST({single}) AS x)"
    for function in ("LOGICAL_AND", "LOGICAL_OR", "COUNTIF"):
        yield from (f"(SELECT {function}(x) FROM UNNEST({value}) AS x)" for value in ("[TRUE, FALSE, NULL]", "[TRUE]", "CAST([] AS ARRAY<BOOL>)", "[CAST(NULL AS BOOL)]"))
    for function in ("BIT_AND", "BIT_OR", "BIT_XOR"):
        yield from (f"(SELECT {function}(x) FROM UNNEST({value}) AS x)" for value in inputs["INT64"])
    for function in ("CORR", "COVAR_POP", "COVAR_SAMP"):
        for rows in ("[STRUCT(1.0 AS x, 2.0 AS y), (2.0, 4.5), (3.0, 5.0)]", "[STRUCT(1.0 AS x, 2.0 AS y)]", "[STRUCT(1.0 AS x, 2.0 AS y), (1.0, 3.0)]"):
            yield f"(SELECT {function}(r.x, r.y) FROM UNNEST({rows}) AS r)"
    for call in ("ANY_VALUE(x HAVING MAX x)", "ARRAY_AGG(x ORDER BY x DESC LIMIT 2)", "ARRAY_AGG(DISTINCT x ORDER BY x)", "STRING_AGG(CAST(x AS STRING), '-' ORDER BY x)", "STRING_AGG(DISTINCT CAST(x AS STRING) ORDER BY CAST(x AS STRING) LIMIT 2)", "ARRAY_CONCAT_AGG([x] ORDER BY x)", "COUNT(*)", "COUNT(DISTINCT x)", "COUNTIF(x > 1)", "SUM(IF(x > 1, x, NULL))", "SUM(x) / COUNT(x)", "AVG(CAST(x AS NUMERIC))", "MAX(CAST(x AS STRING))", "MIN(DATE_ADD(DATE '2024-01-01', INTERVAL x DAY))", "GROUPING(x)", "SUM(x HAVING MAX x)", "ARRAY_AGG(x IGNORE NULLS ORDER BY x LIMIT 1)", "ARRAY_AGG(STRUCT(x AS k, 'v' AS v) ORDER BY x)", "STRING_AGG(NULL)", "AVG(DISTINCT x)", "LOGICAL_AND(x > 0)", "SUM(CAST(x AS BIGNUMERIC))"):
        yield f"(SELECT {call} FROM UNNEST([3, 1, 2, 2]) AS x)"
    yield "(SELECT ARRAY_AGG(x) FROM UNNEST([1, NULL]) AS x)"
    for query in ("SELECT STRUCT(k, SUM(v)) FROM UNNEST([STRUCT('a' AS k, 1 AS v), ('b', 2), ('a', 3)]) GROUP BY k ORDER BY k", "SELECT STRUCT(k, COUNT(*)) FROM UNNEST([STRUCT('a' AS k, 1 AS v), ('b', 2), ('a', 3)]) GROUP BY k HAVING COUNT(*) > 1", "SELECT STRUCT(k, SUM(v)) FROM UNNEST([STRUCT('a' AS k, 1 AS v), ('b', 2), ('a', 3)]) GROUP BY ROLLUP(k) ORDER BY k", "SELECT x FROM UNNEST([CAST('nan' AS FLOAT64), CAST('nan' AS FLOAT64), 1.0]) AS x GROUP BY x ORDER BY x", "SELECT x FROM UNNEST([2.0, CAST('nan' AS FLOAT64), NULL, CAST('-inf' AS FLOAT64)]) AS x ORDER BY x", "SELECT IFNULL(x, -1) FROM UNNEST([2, NULL, 1]) AS x ORDER BY x", "SELECT IFNULL(x, -1) FROM UNNEST([2, NULL, 1]) AS x ORDER BY x DESC", "SELECT IFNULL(x, -1) FROM UNNEST([2, NULL, 1]) AS x ORDER BY x NULLS LAST", "SELECT x FROM UNNEST(['b', 'B', 'a', 'é']) AS x ORDER BY x", "SELECT x FROM UNNEST([1, 2]) AS x UNION ALL SELECT 3 ORDER BY 1", "SELECT x FROM UNNEST([1, 1, 2]) AS x EXCEPT DISTINCT SELECT 2", "SELECT x FROM UNNEST([1, 1, 2]) AS x INTERSECT DISTINCT SELECT 1"):
        yield f"ARRAY({query})"


def windows() -> Iterator[str]:
    """Window functions."""
    rows = "UNNEST([STRUCT('a' AS k, 1 AS v), ('a', 3), ('b', 2), ('b', 2), ('b', CAST(NULL AS INT64))])"
    calls = ("ROW_NUMBER()", "RANK()", "DENSE_RANK()", "PERCENT_RANK()", "CUME_DIST()", "NTILE(2)", "LAG(v)", "LEAD(v)", "LAG(v, 2, -1)", "LEAD(v, 1, 99)", "FIRST_VALUE(v)", "LAST_VALUE(v)", "NTH_VALUE(v, 2)", "FIRST_VALUE(v IGNORE NULLS)", "LAST_VALUE(v IGNORE NULLS)", "SUM(v)", "AVG(v)", "MIN(v)", "MAX(v)", "COUNT(v)", "COUNT(*)", "STRING_AGG(CAST(v AS STRING))", "LOGICAL_OR(v > 2)", "COUNTIF(v > 1)")
    for call in calls:
        for window in ("ORDER BY v", "PARTITION BY k ORDER BY v", "PARTITION BY k ORDER BY v DESC"):
            over = f"{call} OVER ({window})"
            yield f"ARRAY(SELECT IFNULL(CAST(w AS STRING), '-') FROM (SELECT k, v, {over} AS w FROM {rows}) ORDER BY k, v, 1)"
    frames = ("ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING", "ROWS UNBOUNDED PRECEDING", "RANGE BETWEEN 1 PRECEDING AND CURRENT ROW", "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING")
    for call in ("SUM(v)", "COUNT(v)", "MAX(v)", "FIRST_VALUE(v)", "LAST_VALUE(v)", "AVG(v)"):
        for frame in frames:
            yield f"ARRAY(SELECT IFNULL(CAST(w AS STRING), '-') FROM (SELECT v, {call} OVER (ORDER BY v {frame}) AS w FROM {rows}) ORDER BY v, 1)"
    for call in ("PERCENTILE_CONT(v, 0.5)", "PERCENTILE_DISC(v, 0.5)", "PERCENTILE_CONT(v, 0.25)", "PERCENTILE_DISC(v, 1)", "PERCENTILE_CONT(v, 0.5 RESPECT NULLS)"):
        yield f"(SELECT ANY_VALUE(w) FROM (SELECT {call} OVER () AS w FROM {rows}))"
    yield f"ARRAY(SELECT v FROM {rows} WHERE v IS NOT NULL QUALIFY ROW_NUMBER() OVER (PARTITION BY k ORDER BY v) = 1 ORDER BY v)"
    yield f"ARRAY(SELECT s FROM (SELECT v, SUM(SUM(v)) OVER (ORDER BY v) AS s FROM {rows} WHERE v IS NOT NULL GROUP BY v) ORDER BY s)"
    yield f"ARRAY(SELECT IFNULL(n, 0) FROM (SELECT v, LAG(v) OVER w AS n FROM {rows} WHERE k = 'a' WINDOW w AS (ORDER BY v)) ORDER BY v)"


AREAS: Final = {
    area.__name__: area
    for area in (
        casts,
        arithmetic,
        mathematics,
        strings,
        regular_expressions,
        dates,
        times,
        datetimes,
        timestamps,
        intervals,
        json,
        arrays,
        conditionals,
        aggregates,
        windows,
    )
}


def hand_written() -> dict[str, list[str]]:
    """The expressions of each area, each once."""
    seen: set[str] = set()
    found: dict[str, list[str]] = {}
    for name, area in AREAS.items():
        found[name] = [case for case in dict.fromkeys(area()) if case not in seen]
        seen.update(found[name])
    return found
