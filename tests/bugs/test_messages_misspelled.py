"""Misspelled names: a class says when a hook or an attribute of it is one that nobody reads.

Python ignores them, and so do type checkers: the transform ran with one call at a time for years.
"""

import warnings

import pytest

from etlkit import EtlBase, MisspelledWarning
from etlkit.cli.run import main


def warned(define):
    """The warnings of a class definition, and where they point."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        define()
    assert all(each.category is MisspelledWarning for each in caught)
    assert all(each.filename == __file__ for each in caught)
    return [str(each.message) for each in caught]


@pytest.mark.edge_case(
    "`max_concurency`, `before_acton`, `outputSchema` in a transform",
    "class definition",
    "warns: did you mean …?",
)
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("max_concurency", "max_concurrency"),
        ("concurrency", "max_concurrency"),
        ("before_acton", "before_action"),
        ("after_actions", "after_action"),
        ("beforeAction", "before_action"),
        ("transform_rows", "transform_row"),
        ("tranform_batch", "transform_batch"),
        ("batchsize", "batch_size"),
        ("outputSchema", "output_schema"),
        ("column", "columns"),
    ],
)
def test_a_misspelled_name_is_told_when_the_class_is_defined(name, meant):
    """With the name that was meant, at the line of the class."""

    def define():
        type("Etl", (EtlBase,), {"transform_row": lambda self, row: row, name: 3})

    with pytest.warns(MisspelledWarning, match=rf"Etl\.{name} .*did you mean {meant}\?"):
        define()


def test_names_of_ones_own_are_left_alone():
    """What the class itself uses, what begins with an underscore, and what looks like nothing."""

    def define():
        class Etl(EtlBase):
            max_words = 3
            _transform_rows = None
            url: str = ""

            def transform_rows(self, rows):
                return rows

            @property
            def batch_sizes(self):
                return [1]

            def transform_row(self, row):
                return [inner for inner in self.transform_rows([row]) if self.batch_sizes]

    assert warned(define) == []


def test_a_base_of_the_user_is_told_once():
    """Where it is defined, and not again for each class made of it."""

    def define():
        class Base(EtlBase, abstract=True):
            def __init_subclass__(cls, **kwargs):
                super().__init_subclass__(**kwargs)

            max_concurency = 3

        class Etl(Base):
            max_concurency = 4

            def transform_row(self, row):
                return row

    assert len(warned(define)) == 1


def test_a_class_without_a_transform_says_what_was_meant():
    """The one error that such a class gives is not enough to find the slip."""
    with pytest.raises(TypeError, match=r"Etl\.transform_rows: did you mean transform_row\?"):
        type("Etl", (EtlBase,), {"transform_rows": lambda self, rows: rows})


def test_the_command_line_shows_it_as_a_warning(tmp_path, capsys):
    """One line with file and line number, as all that it says."""
    script = tmp_path / "slip.py"
    script.write_text(
        "from etlkit import EtlBase\n\n\nclass Etl(EtlBase):\n    before_acton = None\n\n"
        "    def transform_row(self, row):\n        return row\n"
    )
    assert main([str(script)]) == 2
    seen = capsys.readouterr().err
    assert "Etl.before_acton is not read by etlkit: did you mean before_action?" in seen
    assert f"({script}:4)" in seen
    assert "class Etl(EtlBase):" not in seen
