"""The pytest plugin for users: the environment points to an emulator of the test's own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import requests

from beam_zerobus import OAuthClientCredentials, ZerobusWriter
from beam_zerobus.emulator import Emulator, Faults, ScriptedFault

TABLE = "main.iot.air_quality"
OUTAGE = Faults(script=(ScriptedFault("status", at_call=1, code="UNAVAILABLE"),))


def test_the_environment_has_our_names_and_those_of_the_official_examples(
    zerobus: Emulator, zerobus_credentials: OAuthClientCredentials
) -> None:
    assert os.environ["ZEROBUS_ENDPOINT"] == os.environ["ZEROBUS_SERVER_ENDPOINT"] == zerobus.endpoint
    assert os.environ["DATABRICKS_HOST"] == os.environ["DATABRICKS_WORKSPACE_URL"] == zerobus.workspace_url
    assert zerobus_credentials.client_id.reveal() == os.environ["DATABRICKS_CLIENT_ID"] == zerobus.client_id
    answer = requests.post(
        f"{os.environ['DATABRICKS_WORKSPACE_URL']}/oidc/v1/token",
        data={"grant_type": "client_credentials", "scope": "all-apis"},
        auth=(os.environ["DATABRICKS_CLIENT_ID"], os.environ["DATABRICKS_CLIENT_SECRET"]),
        timeout=20,
    )
    assert answer.status_code == 200


@pytest.mark.zerobus(tables={TABLE: "device STRING"}, faults=OUTAGE)
def test_the_marker_makes_tables_and_sets_faults(zerobus: Emulator) -> None:
    import pyarrow as pa

    with ZerobusWriter(TABLE) as writer:
        result = writer.send_batch(pa.record_batch({"device": ["attic", "cellar"]}))
    assert result.attempts == 2
    assert zerobus.table(TABLE).wait_for_rows(2).num_rows == 2


def test_waiting_for_rows_ends_and_says_how_many_there_are(zerobus: Emulator) -> None:
    table = zerobus.create_table(TABLE, "device STRING")
    with pytest.raises(TimeoutError, match=f"{TABLE} has 0 of 1 row after 0.1 s"):
        table.wait_for_rows(1, timeout=0.1)


# What a user writes, with no conftest.py and no import of ours.
PROJECT = """
import os
import pytest

def test_finds_the_fixture(zerobus):
    assert os.environ["ZEROBUS_ENDPOINT"] == zerobus.endpoint

@pytest.mark.zerobus(table={"main.iot.air_quality": "device STRING"})
def test_has_a_typing_error(zerobus):
    pass
"""


@pytest.mark.timeout(400)
def test_pytest_finds_the_fixture_by_itself_and_names_a_wrong_argument(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(PROJECT)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--strict-markers", str(tmp_path)]
    done = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert "1 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "pytest.mark.zerobus has no argument 'table'; did you mean 'tables'?" in done.stdout


def test_the_plugin_costs_other_test_runs_nothing() -> None:
    script = """
        import sys
        import beam_zerobus.testing
        print([name for name in ("apache_beam", "deltalake", "grpc", "pyarrow", "zerobus") if name in sys.modules])
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=250)
    assert done.stdout.strip() == "[]", done.stderr
