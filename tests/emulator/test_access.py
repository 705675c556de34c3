"""Tokens, grants, and the description of tables, as the SDK itself requests them."""

import json
import subprocess
import sys

import grpc
import pytest
import requests
from zerobus.sdk.shared.auth import FederatedToken
from zerobus.sdk.sync import NonRetriableException, TableProperties, ZerobusException, ZerobusSdk

from beam_zerobus.emulator import Emulator, Faults
from beam_zerobus.schema import TableSchema

from .sdk import FORMATS, RawStream, Stream, eventually, file_of

TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, name STRING"


@pytest.fixture(autouse=True)
def table(emulator: Emulator) -> None:
    emulator.create_table(TABLE, DDL)


@pytest.mark.parametrize("wire_format", FORMATS)
def test_a_wrong_secret_opens_no_stream(emulator: Emulator, wire_format: str) -> None:
    for wrong in ({"client_secret": "guess"}, {"client_id": "somebody"}):
        with pytest.raises(NonRetriableException, match=r"401|invalid_client"):
            Stream(emulator, TABLE, DDL, wire_format, **wrong)
    assert emulator.stats.streams_opened == 0


@pytest.mark.parametrize("wire_format", FORMATS)
def test_missing_tables_and_grants_are_distinguished(emulator: Emulator, wire_format: str) -> None:
    with pytest.raises(NonRetriableException, match=r"'main\.iot\.none' cannot be found"):
        Stream(emulator, "main.iot.none", DDL, wire_format)
    table = emulator.table(TABLE)
    table.revoke("MODIFY")
    with pytest.raises(NonRetriableException, match=r"4024: the principal has no MODIFY for table main\.iot\.air"):
        Stream(emulator, TABLE, DDL, wire_format)
    table.grant("MODIFY")
    Stream(emulator, TABLE, DDL, wire_format).close()


@pytest.mark.parametrize("wire_format", FORMATS)
def test_a_token_that_expires_ends_its_stream(emulator: Emulator, wire_format: str) -> None:
    stream = Stream(emulator, TABLE, DDL, wire_format)
    stream.wait(stream.send([{"id": 1}]))
    emulator.advance_clock(emulator.token_life)
    # An idle stream ends too.
    eventually(lambda: emulator.stats.streams_open == 0)
    assert emulator.stats.streams[-1].end == "UNAUTHENTICATED"
    with pytest.raises(ZerobusException):  # noqa: PT012  the client may hear of the end a moment later
        stream.send([{"id": 2}])
        stream.flush()
    with Stream(emulator, TABLE, DDL, wire_format) as renewed:
        renewed.send([{"id": 2}])
        renewed.flush()
    assert emulator.table(TABLE).count_rows() == 2


@pytest.mark.parametrize("wire_format", FORMATS)
def test_revoked_tokens_end_streams_with_the_cause(emulator: Emulator, wire_format: str) -> None:
    emulator.faults = Faults(ack_delay=60)  # of a stream that ends while nothing is in flight, the SDK has no cause
    stream = Stream(emulator, TABLE, DDL, wire_format)
    stream.send([{"id": 1}])
    emulator.revoke_tokens()
    with pytest.raises(ZerobusException, match="the access token was revoked"):
        stream.flush()


def test_what_arrives_with_a_revoked_token_is_not_stored(emulator: Emulator) -> None:
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        stream.create(TABLE)
        stream.receive()
        emulator.revoke_tokens()
        stream.send_json(0, '{"id": 1}')
        assert stream.end() == (grpc.StatusCode.UNAUTHENTICATED, "the access token was revoked")
    assert emulator.table(TABLE).count_rows() == 0


@pytest.mark.parametrize(
    ("header", "token_table", "life", "code", "reason"),
    [
        (TABLE, None, 60, grpc.StatusCode.PERMISSION_DENIED, "Error 4024: the access token was not issued for table"),
        (TABLE, "main.iot.other", 60, grpc.StatusCode.PERMISSION_DENIED, "not issued for table main.iot.air"),
        (TABLE, TABLE, -1, grpc.StatusCode.UNAUTHENTICATED, "expired"),
        (None, TABLE, 60, grpc.StatusCode.INVALID_ARGUMENT, "header x-databricks-zerobus-table-name is missing"),
        ("main.iot.other", TABLE, 60, grpc.StatusCode.INVALID_ARGUMENT, "the header"),
    ],
)
def test_token_and_table_belong_together(emulator, header, token_table, life, code, reason) -> None:  # noqa: PLR0917
    with RawStream(emulator, header, emulator.issue_token(token_table, life)) as stream:
        stream.create(TABLE)
        found, message = stream.end()
    assert found is code
    assert reason in message


@pytest.mark.parametrize("token", [None, "", "a.b.c", "é", "x" * 1000])
def test_a_token_from_elsewhere_is_rejected(emulator: Emulator, token: str | None) -> None:
    if token == "é":  # gRPC's headers are ASCII; HTTP's are not.
        url = f"{emulator.workspace_url}/api/2.1/unity-catalog/tables/{TABLE}"
        assert requests.get(url, headers={"Authorization": "Bearer é".encode()}, timeout=20).status_code == 401
        return
    with RawStream(emulator, TABLE, token) as stream:
        stream.create(TABLE)
        assert stream.end()[0] is grpc.StatusCode.UNAUTHENTICATED


def test_tokens_outlive_a_restart(emulator: Emulator) -> None:
    token = emulator.issue_token(TABLE)
    emulator.restart()
    with RawStream(emulator, TABLE, token) as stream:
        stream.create(TABLE)
        assert stream.receive().HasField("create_stream_response")
    with Emulator(memory=True) as other, RawStream(other, TABLE, token) as stream:
        stream.create(TABLE)
        assert stream.end()[0] is grpc.StatusCode.UNAUTHENTICATED


def test_a_federated_token_is_exchanged(emulator: Emulator) -> None:
    sdk = ZerobusSdk(emulator.endpoint, emulator.workspace_url)
    from beam_zerobus.encoding import ProtoEncoder

    descriptor = file_of(ProtoEncoder(TableSchema.from_ddl(DDL)).descriptor)
    stream = sdk.create_stream(
        table_properties=TableProperties(TABLE, descriptor), auth=FederatedToken(lambda: "token-of-another-idp")
    )
    stream.ingest_records_offset([b"\x08\x01"])
    stream.flush()
    stream.close()
    assert emulator.table(TABLE).count_rows() == 1


def token_form(**changes: str) -> dict[str, str]:
    return {"grant_type": "client_credentials", "scope": "all-apis", **changes}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"scope": "sql"}, "invalid_scope"),
        ({"authorization_details": "{"}, "invalid_authorization_details"),
        ({"authorization_details": "[]"}, "invalid_authorization_details"),
        ({"authorization_details": "[1]"}, "invalid_authorization_details"),
    ],
)
def test_requests_for_tokens_are_checked(emulator: Emulator, changes: dict[str, str], error: str) -> None:
    answer = requests.post(
        f"{emulator.workspace_url}/oidc/v1/token",
        data=token_form(**changes),
        auth=(emulator.client_id, emulator.client_secret),
        timeout=20,
    )
    assert answer.status_code == 400
    assert answer.json()["error"] == error


def test_a_table_is_described_as_unity_catalog_does(emulator: Emulator) -> None:
    url = f"{emulator.workspace_url}/api/2.1/unity-catalog/tables/"
    assert requests.get(url + TABLE, timeout=20).status_code == 401
    token = requests.post(
        f"{emulator.workspace_url}/oidc/v1/token",
        data=token_form(),
        auth=(emulator.client_id, emulator.client_secret),
        timeout=20,
    ).json()
    assert token["token_type"] == "Bearer"
    assert token["expires_in"] == 3600
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    emulator.table(TABLE).add_column("more DECIMAL(10,2), tags ARRAY<STRING>")
    emulator.table(TABLE).drop_column("name")
    found = requests.get(url + TABLE, headers=headers, timeout=20).json()
    assert found["full_name"] == TABLE
    assert [(c["name"], c["position"], c["nullable"], c["type_name"]) for c in found["columns"]] == [
        ("id", 0, False, "LONG"),
        ("more", 2, True, "DECIMAL"),
        ("tags", 3, True, "ARRAY"),
    ]
    assert TableSchema.from_unity_catalog(found) == emulator.table(TABLE).schema
    missing = requests.get(url + "main.iot.none", headers=headers, timeout=20)
    assert (missing.status_code, missing.json()["error_code"]) == (404, "TABLE_DOES_NOT_EXIST")
    emulator.table(TABLE).revoke()
    assert requests.get(url + TABLE, headers=headers, timeout=20).status_code == 403
    assert requests.get(f"{emulator.workspace_url}/nothing", headers=headers, timeout=20).status_code == 404
    assert requests.post(f"{emulator.workspace_url}/nothing", timeout=20).status_code == 404


def test_the_sdks_generator_of_proto_files_works(emulator: Emulator, tmp_path) -> None:
    ddl = "id BIGINT NOT NULL, at TIMESTAMP, tags ARRAY<STRING>, m MAP<STRING, INT>, p STRUCT<x: DOUBLE, y: DOUBLE>"
    emulator.create_table("main.iot.places", ddl)
    output = tmp_path / "places.proto"
    command = [sys.executable, "-m", "zerobus.tools.generate_proto", "--uc-endpoint", emulator.workspace_url]
    command += ["--client-id", emulator.client_id, "--client-secret", emulator.client_secret]
    command += ["--table", "main.iot.places", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    text = output.read_text()
    for line in (
        "required int64 id = 1;",
        "optional int64 at = 2;",
        "repeated string tags = 3;",
        "map<string, int32> m = 4;",
        "optional P p = 5;",
        "optional double y = 2;",
    ):
        assert line in text


def test_no_secret_shows(emulator: Emulator) -> None:
    from beam_zerobus.emulator.access.tokens import TokenIssuer

    shown = repr(emulator) + repr(emulator._servers._workspace) + repr(emulator.stats) + repr(TokenIssuer("s3cret"))
    assert emulator.client_secret not in shown
    assert "s3cret" not in shown


def details(*privileges: str) -> str:
    return json.dumps(
        [
            {"type": "unity_catalog_privileges", "object_type": kind, "object_full_path": path, "privileges": wanted}
            for kind, path, wanted in (
                ("CATALOG", "main", ["USE CATALOG"]),
                ("SCHEMA", "main.iot", ["USE SCHEMA"]),
                ("TABLE", TABLE, list(privileges)),
            )
        ]
    )


RESOURCE = "api://databricks/workspaces/1/zerobusDirectWriteApi"


def test_credentials_may_be_in_the_form(emulator: Emulator) -> None:
    url = f"{emulator.workspace_url}/oidc/v1/token"
    form = token_form(
        client_id=emulator.client_id,
        client_secret=emulator.client_secret,
        authorization_details=details("SELECT", "MODIFY"),
        resource=RESOURCE,
    )
    token = requests.post(url, data=form, timeout=20).json()["access_token"]
    with RawStream(emulator, TABLE, token) as stream:
        stream.create(TABLE)
        assert stream.receive().create_stream_response.stream_id
    for wrong in ({"client_id": "somebody"}, {"client_secret": "guess"}, {"client_secret": ""}):
        answer = requests.post(url, data=form | wrong, timeout=20)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    # Basic authentication counts where both are given.
    assert requests.post(url, data=form, auth=("somebody", "guess"), timeout=20).status_code == 401


def test_a_token_to_select_reads_the_description_and_writes_nothing(emulator: Emulator) -> None:
    answer = requests.post(
        f"{emulator.workspace_url}/oidc/v1/token",
        data=token_form(authorization_details=details("SELECT")),
        auth=(emulator.client_id, emulator.client_secret),
        timeout=20,
    )
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]
    url = f"{emulator.workspace_url}/api/2.1/unity-catalog/tables/{TABLE}"
    assert requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=20).status_code == 200
    with RawStream(emulator, TABLE, token) as stream:
        stream.create(TABLE)
        assert stream.end()[0] is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"authorization_details": details("MODIFY"), "resource": RESOURCE}, "invalid_authorization_details"),
        ({"authorization_details": details(), "resource": RESOURCE}, "invalid_authorization_details"),
        ({"authorization_details": details("SELECT", "MODIFY")}, "invalid_target"),
    ],
)
def test_a_token_to_write_needs_both_privileges_and_the_resource(
    emulator: Emulator, changes: dict[str, str], error: str
) -> None:
    answer = requests.post(
        f"{emulator.workspace_url}/oidc/v1/token",
        data=token_form(**changes),
        auth=(emulator.client_id, emulator.client_secret),
        timeout=20,
    )
    assert (answer.status_code, answer.json()["error"]) == (400, error)


@pytest.mark.parametrize("slashes", ["/", "//"])
def test_a_workspace_url_may_end_with_a_slash(emulator: Emulator, slashes: str) -> None:
    for base in (emulator.workspace_url, emulator.workspace_url.replace("127.0.0.1", "localhost")):
        answer = requests.post(
            f"{base}{slashes}oidc/v1/token",
            data=token_form(),
            auth=(emulator.client_id, emulator.client_secret),
            timeout=20,
        )
        assert answer.status_code == 200
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        url = f"{base}{slashes}api/2.1/unity-catalog/tables/{TABLE}"
        assert requests.get(url, headers=headers, timeout=20).json()["full_name"] == TABLE


def test_a_federated_token_of_an_unknown_client_is_rejected(emulator: Emulator) -> None:
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "scope": "all-apis",
        "subject_token": "token-of-another-idp",
    }
    url = f"{emulator.workspace_url}/oidc/v1/token"
    for client, status in ((None, 200), (emulator.client_id, 200), ("somebody", 401)):
        data = form if client is None else form | {"client_id": client}
        assert requests.post(url, data=data, timeout=20).status_code == status


def test_descriptions_are_found_without_regard_to_case(emulator: Emulator) -> None:
    headers = {"Authorization": f"Bearer {emulator.issue_token()}"}
    url = f"{emulator.workspace_url}/api/2.1/unity-catalog/tables/MAIN.Iot.Air"
    assert requests.get(url, headers=headers, timeout=20).json()["full_name"] == TABLE
