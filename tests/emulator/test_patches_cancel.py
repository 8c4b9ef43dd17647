import threading

import pytest
from google.api_core.exceptions import GoogleAPICallError, NotFound

ENDLESS = (
    "SELECT COUNT(*) FROM UNNEST(GENERATE_ARRAY(1, 1000000)) AS a "
    "CROSS JOIN UNNEST(GENERATE_ARRAY(1, 1000000)) AS b WHERE MOD(a * b, 7) = 3"
)


def test_a_running_query_can_be_cancelled(bq, dataset, until):
    """Real BigQuery: `jobs.cancel` ends it with the reason `stopped`, and others can go on."""
    job_id, errors = f"{dataset}_endless", []

    def query():
        try:
            bq.query(ENDLESS, job_id=job_id, retry=None, job_retry=None).result(retry=None)
        except GoogleAPICallError as error:
            errors.append(error)

    def has_ended():
        try:
            return bq.cancel_job(job_id, retry=None).state == "DONE"
        except NotFound:  # the request has not arrived yet
            return False

    thread = threading.Thread(target=query)
    thread.start()
    until(has_ended)
    thread.join()
    assert "was cancelled" in errors[0].message
    assert bq.get_job(job_id).error_result["reason"] == "stopped"
    assert [tuple(row) for row in bq.query_and_wait("SELECT 1")] == [(1,)]


def test_a_job_that_is_done_stays_done(bq, dataset):
    """Real BigQuery: cancelling it changes nothing; one that does not exist is a 404."""
    job_id = f"{dataset}_done"
    bq.query("SELECT 1", job_id=job_id, job_retry=None).result()
    assert bq.cancel_job(job_id).error_result is None
    with pytest.raises(NotFound):
        bq.cancel_job(f"{dataset}_nope", retry=None)
