import pytest
from google.api_core.exceptions import BadRequest, Forbidden, PreconditionFailed

from etlkit import SinkError
from etlkit.bigquery.google_errors import errors_as


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (
            Forbidden(
                "Billing has not been enabled for this project. DML queries are not allowed."
            ),
            "The project is a sandbox.*Enable billing",
        ),
        (BadRequest("DML queries are not allowed in the free tier."), "The project is a sandbox"),
        (
            PreconditionFailed("Constraint constraints/gcp.restrictNonCmekServices violated"),
            "keys of its own",
        ),
        (Forbidden("Access Denied: Table p:d.t"), "ask for access"),
    ],
)
def test_what_a_project_does_not_allow(error, hint):
    """BigQuery's sentence, then what to do about it."""
    with (
        pytest.raises(SinkError, match=rf"(?s)publishing failed: .*{hint}"),
        errors_as(SinkError, "publish", "publishing failed", {403: "ask for access"}),
    ):
        raise error
