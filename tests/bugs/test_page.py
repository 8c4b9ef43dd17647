"""The page of edge cases is what the marks of the tests say."""

from tests.bugs import page


def test_the_page_is_up_to_date():
    """`python -m tests.bugs.page` would change nothing."""
    assert page.PAGE.read_text(encoding="utf-8") == page.rendered()


def test_no_case_is_listed_twice():
    """A value in one place has one answer."""
    listed = [case[:2] for kind in page.kinds() for case in kind.cases]
    assert len(set(listed)) == len(listed) > 0
