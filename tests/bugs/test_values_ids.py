"""Whole numbers in CSV: a whole number is INT64 if it fits, and text if it does not.

An id of 19 digits that fits was taken for text, because a shortcut trusted only 18 digits.
"""

import pytest

from etlkit.files.csv_cells import guess_type, possible_types


@pytest.mark.edge_case(
    "`1234567890123456789`, an id of 19 digits", "CSV, no type given", "INT64: it fits"
)
@pytest.mark.edge_case(
    "`9223372036854775808` = 2⁶³", "CSV, no type given", "STRING: no digit is lost"
)
@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("1234567890123456789", "INT64"),
        ("9223372036854775807", "INT64"),
        ("-9223372036854775808", "INT64"),
        ("9223372036854775808", "STRING"),
        ("-9223372036854775809", "STRING"),
        ("12345678901234567890", "STRING"),
    ],
)
def test_a_whole_number_is_int64_if_it_fits(cell, kind):
    """The bounds of INT64 decide, not the number of digits."""
    assert guess_type(possible_types([cell])) == kind
