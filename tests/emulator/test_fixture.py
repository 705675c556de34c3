"""The pytest fixtures for users: the environment points to an emulator of the test's own."""

import os

import requests

from beam_zerobus import OAuthClientCredentials
from beam_zerobus.emulator import Emulator

pytest_plugins = ["beam_zerobus.testing"]


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
        timeout=5,
    )
    assert answer.status_code == 200
