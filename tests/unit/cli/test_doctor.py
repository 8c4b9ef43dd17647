"""`etlkit doctor`: each thing that can be wrong is named with the command that mends it."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib import metadata

import pytest

from etlkit import ConfigError
from etlkit.api.run import Settings
from etlkit.bigquery.client import Connection
from etlkit.bigquery.modes import MODES
from etlkit.cli.doctor_checks.finding import Finding
from etlkit.cli.doctor_checks.google_apis import Hosts
from etlkit.cli.doctor_checks.google_cloud import (
    OF_MODE,
    Account,
    check_google_cloud,
    find_account,
)
from etlkit.cli.doctor_checks.installation import check_installation
from etlkit.cli.root import main
from etlkit.runner import environment
from etlkit.testing import FakeHttp

ANN = Account("ann@example.com", {"Authorization": "Bearer t"}, "shop")
DISABLED = {"error": {"message": "has not been used", "details": [{"reason": "SERVICE_DISABLED"}]}}
ALL_SERVICES = ("bigquery", "bigquerystorage", "vision")


class Google:
    """Google's APIs on loopback; what they say may be changed."""

    def __init__(self):
        self.datasets = {"etlkit_work": "US", "target": "US"}
        self.project = (200, {"datasets": []})
        self.disabled = ()
        self.usage = None
        self.denied = ()
        self.manager = None
        self.clock_ahead_s = 0
        self.quotas = {
            "bigquery": [
                quota(
                    "Query usage", "bigquery.googleapis.com/quota/query/usage", "MiBy", {"d": -1}
                ),
                quota("Tables", "bigquery.googleapis.com/quota/tables", "1", {"d": 0}),
            ],
            "vision": [quota("Requests", "vision.googleapis.com/requests", "1", {"min": 1800})],
        }

    def __call__(self, request):
        status, body = self._answer(request)
        now = datetime.now(UTC) - timedelta(seconds=self.clock_ahead_s)
        return status, body, {"Date": format_datetime(now, usegmt=True)}

    def _answer(self, request):
        assert request.headers["authorization"] == "Bearer t"
        if request.path.endswith(":batchGet"):
            states = {name: name not in self.disabled for name in ALL_SERVICES}
            services = [
                {"name": f"projects/1/services/{name}.googleapis.com", "state": state}
                for name, is_on in states.items()
                for state in ["ENABLED" if is_on else "DISABLED"]
            ]
            return self.usage or (200, {"services": services})
        if "/consumerQuotaMetrics" in request.path:
            found = self.quotas[request.path.partition("/services/")[2].partition(".")[0]]
            return found if isinstance(found, tuple) else (200, {"metrics": found})
        if request.path.endswith(":testIamPermissions"):
            asked = request.json["permissions"]
            return self.manager or (
                200,
                {"permissions": [each for each in asked if each not in self.denied]},
            )
        name = request.path.rpartition("/")[2]
        if name == "datasets":
            return self.project
        if name in self.datasets:
            return 200, {"location": self.datasets[name]}
        return 404, {"error": {"message": f"Not found: Dataset {name}"}}


def quota(name, metric, unit, limits):
    """A metric of a project with a limit for each time, and one for each user."""
    made = [
        {"unit": f"1/{time}/{{project}}", "quotaBuckets": [{"effectiveLimit": str(limit)}]}
        for time, limit in limits.items()
    ]
    of_users = {"unit": "1/d/{project}/{user}", "quotaBuckets": [{"effectiveLimit": "7"}]}
    return {
        "metric": metric,
        "displayName": name,
        "unit": unit,
        "consumerQuotaLimits": [of_users, *made],
    }


@pytest.fixture
def google():
    return Google()


@pytest.fixture
def look(google):
    """Check the fake Google, as the command does."""

    def checked(account=ANN, project=None, location=None, mode="replace"):
        with FakeHttp(google) as api:
            return list(
                check_google_cloud(
                    account,
                    Settings(project=project, location=location),
                    ["etlkit_work", "target"],
                    mode,
                    Hosts(api.url, api.url, api.url),
                )
            )

    return checked


def wrong(findings):
    return [(each.subject, each.text, *each.mend) for each in findings if each.state != "ok"]


def test_every_mode_has_its_permissions():
    """A new mode is not forgotten here."""
    assert OF_MODE.keys() == MODES.keys()


def test_a_project_in_which_all_is_well(look):
    """Each check says what it found."""
    found = look()
    assert wrong(found) == []
    assert [each.subject for each in found] == [
        "credentials",
        "clock",
        "project",
        *["APIs"] * 3,
        *["permissions"] * 2,
        "location",
        *["quotas"] * 2,
    ]
    assert [each.text for each in found[-3:]] == [
        "etlkit_work in US, target in US",
        "bigquery.googleapis.com: Query usage: no limit",
        "vision.googleapis.com: Requests: 1,800 a minute",
    ]


def test_an_account_without_a_project(look):
    """Nothing else can be asked then."""
    (found,) = wrong(look(account=Account("ann@example.com", {}, None)))
    assert found[0] == "project"
    assert "set-quota-project" in found[2]


@pytest.mark.parametrize(
    ("answer", "text", "mend"),
    [
        ((403, DISABLED), "is not enabled", "gcloud services enable bigquery.googleapis.com"),
        ((404, {}), "there is no project shop", "gcloud projects list"),
        ((400, {}), "there is no project shop", "gcloud projects list"),
        ((401, {"error": {"message": "expired"}}), "expired", "gcloud auth application-default"),
        ((403, {"error": {"message": "no billing"}}), "cannot be used: no billing", ""),
        ((500, None), "status 500", ""),
    ],
)
def test_a_project_that_cannot_be_used(look, google, answer, text, mend):
    """The reason is BigQuery's own; later checks are left out."""
    google.project = answer
    *_, found = look()
    assert found.state == "problem"
    assert text in found.text
    assert "".join(found.mend).startswith(mend)


def test_a_clock_that_is_wrong(look, google):
    """Google refuses tokens of another time."""
    google.clock_ahead_s = 3600
    ((subject, text, mend),) = wrong(look())
    assert (subject, mend) == ("clock", "sudo timedatectl set-ntp true")
    assert "ahead of Google" in text


def test_apis_that_are_not_enabled(look, google):
    """Vision is needed by some jobs only."""
    google.disabled = ("bigquerystorage", "vision")
    found = [each for each in look() if each.state != "ok"]
    assert [each.state for each in found] == ["problem", "warning"]
    assert [each.mend for each in found] == [
        (f"gcloud services enable {name}.googleapis.com --project shop",)
        for name in ("bigquerystorage", "vision")
    ]


def test_permissions_of_the_billed_project(look, google):
    """The least role that has them, for the account that lacks them."""
    google.denied = ("bigquery.readsessions.create", "bigquery.readsessions.getData")
    ((_, text, mend),) = wrong(look())
    assert "ann@example.com lacks bigquery.readsessions.create" in text
    assert mend == (
        "gcloud projects add-iam-policy-binding shop --member=user:ann@example.com "
        "--role=roles/bigquery.readSessionUser"
    )


def test_permissions_that_the_datasets_may_grant(look, google):
    """A note, with the statement for each dataset; only what the mode needs is asked for."""
    google.denied = ("bigquery.tables.delete",)
    assert wrong(look(mode="append")) == []
    robot = Account("r@shop.iam.gserviceaccount.com", ANN.headers, "shop")
    ((_, text, *mend),) = wrong(look(account=robot, mode="delete_in_advance"))
    assert text.startswith("bigquery.tables.delete: not granted on the whole project")
    assert 'ON SCHEMA `shop.target` TO "serviceAccount:r@shop.iam' in mend[1]


def test_what_cannot_be_seen_is_a_note(look, google):
    """An account that may work but may not look is no problem."""
    google.usage = (403, {"error": {"message": "denied"}})
    google.manager = (403, DISABLED)
    found = wrong(look())
    assert [each[0] for each in found] == ["APIs", "permissions"]
    assert (
        found[1][2] == "gcloud services enable cloudresourcemanager.googleapis.com --project shop"
    )


def test_quotas_that_are_used_up_or_cannot_be_seen(look, google):
    """A quota of 0 refuses every call; one that the account may not look at is a note."""
    of_queries = google.quotas["bigquery"][0]
    of_queries["consumerQuotaLimits"][1]["quotaBuckets"] = [
        {"effectiveLimit": "5", "dimensions": {"region": "asia-northeast1"}},
        {},
    ]
    google.quotas["vision"] = 403, {"error": {"message": "denied"}}
    queries, vision = [each for each in look() if each.state != "ok"]
    assert (queries.state, queries.subject) == ("problem", "quotas")
    assert "Query usage: 0 MiBy a day: every call is refused" in queries.text
    assert "quotas?project=shop" in queries.text
    assert (vision.state, vision.text) == (
        "warning",
        "vision.googleapis.com: they cannot be seen: denied",
    )
    of_queries["consumerQuotaLimits"][1]["quotaBuckets"] = [{"effectiveLimit": "262144"}]
    google.disabled = ("vision",)
    assert look()[-1].text == "bigquery.googleapis.com: Query usage: 262,144 MiBy a day"


def test_datasets_in_two_places(look, google):
    """A run is in one location."""
    google.datasets["target"] = "asia-northeast1"
    ((subject, text),) = wrong(look())
    assert subject == "location"
    assert "etlkit_work in US, target in asia-northeast1" in text
    google.datasets["target"] = "us"
    assert wrong(look()) == []
    ((_, text),) = wrong(look(location="EU"))
    assert "--location says EU" in text


def test_a_dataset_that_is_not_there_yet(look, google):
    """It may be made by the run."""
    del google.datasets["etlkit_work"]
    ((subject, text),) = wrong(look())
    assert (subject, text.split(" yet")[0]) == ("datasets", "there is no etlkit_work")


def test_no_network(google):
    """The reason of the first request; nothing more is tried."""
    with FakeHttp(google) as api:
        hosts = Hosts(api.url, api.url, api.url)
    *_, found = check_google_cloud(ANN, Settings(), [], "replace", hosts)
    assert (found.subject, found.state) == ("project", "problem")
    assert "cannot be used" in found.text


def service_account(tmp_path, token_uri):
    """A key file with a key that was made for this test."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    path = tmp_path / "key.json"
    path.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "shop",
                "private_key_id": "1",
                "private_key": pem,
                "client_email": "r@shop.iam.gserviceaccount.com",
                "token_uri": token_uri,
            }
        )
    )
    return path


@pytest.mark.parametrize("accepts", [True, False])
def test_the_account_of_a_key_file(tmp_path, monkeypatch, accepts):
    """Google's own library asks for a token; a refusal has the command to log in."""

    def token(_request):
        if accepts:
            return {"access_token": "abc", "expires_in": 3600, "token_type": "Bearer"}
        return 400, {"error": "invalid_grant", "error_description": "Invalid JWT"}

    with FakeHttp(token) as api:
        key = service_account(tmp_path, f"{api.url}/token")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
        found = find_account()
    if accepts:
        assert found == Account(
            "r@shop.iam.gserviceaccount.com", {"Authorization": "Bearer abc"}, "shop"
        )
        assert found.member == "serviceAccount:r@shop.iam.gserviceaccount.com"
    else:
        assert isinstance(found, Finding)
        assert found.mend == ("gcloud auth application-default login",)
        assert "Invalid JWT" in found.text


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "was not found"), ("no JSON", "not a valid json file"), ("", "is a directory")],
)
def test_a_key_file_that_is_none(monkeypatch, tmp_path, capsys, content, reason):
    """To log in does not help as long as the variable names it; a run says the same."""
    key = tmp_path / "key.json"
    if content:
        key.write_text(content)
    elif content == "":
        key.mkdir()
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert f"GOOGLE_APPLICATION_CREDENTIALS={key} gives no credentials: " in out
    assert reason in out.lower()
    mend = out.index("unset GOOGLE_APPLICATION_CREDENTIALS\n")
    assert mend < out.index("gcloud auth application-default login")
    with pytest.raises(ConfigError, match=rf"={key} gives no credentials: .*unset the variable"):
        Connection(environment(project="p"), job_prefix="x")


def test_no_credentials(monkeypatch, tmp_path, capsys):
    """The command ends with 1 and says how to log in."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "this machine has no Google credentials" in out
    assert "gcloud auth application-default login" in out


@pytest.mark.parametrize(
    ("versions", "text"),
    [
        ({"pyarrow": "9.0"}, "pyarrow is 9.0, but >=17 is needed"),
        ({"pyarrow": None}, "pyarrow is missing"),
        ({"duckdb": None}, ""),
    ],
)
def test_packages_that_are_missing_or_too_old(monkeypatch, versions, text):
    """Those of an extra are looked at for it alone."""
    version = metadata.version

    def installed(name):
        if versions.get(name, "") is None:
            raise metadata.PackageNotFoundError(name)
        return versions.get(name) or version(name)

    monkeypatch.setattr(metadata, "version", installed)
    _, found = check_installation()
    assert found.text.startswith(text or "etlkit ")
    assert (found.state == "problem") == bool(text)
    if "duckdb" in versions:
        _, found = check_installation("local")
        assert found.text == "duckdb is missing"
        assert found.mend[0].endswith("pip install -e '.[local]'")
