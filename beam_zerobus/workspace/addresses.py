"""Whether two addresses look like a Zerobus endpoint and a workspace, before anything is called."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from beam_zerobus.errors import ConfigurationError

__all__ = ["ENDPOINT_EXAMPLE", "WORKSPACE_EXAMPLE", "check_addresses", "is_of_databricks", "wrong_address"]

_DOMAINS = ("databricks.com", "azuredatabricks.net", "databricks.azure.cn", "databricks.azure.us", "databricks.us")
ENDPOINT_EXAMPLE = "https://<workspace-id>.zerobus.<region>.cloud.databricks.com"
WORKSPACE_EXAMPLE = "https://<workspace>.cloud.databricks.com"

# Hosts that end before the domain does; names of a company's own network are none of these.
_CUT_ENDPOINT = re.compile(r"\d+\.zerobus(\.[a-z]+-[a-z0-9-]+)?(\.(cloud|gcp)(\.databricks)?|\.azuredatabricks)?")
_CUT_WORKSPACE = re.compile(
    r"dbc-[0-9a-f]+-[0-9a-f]+(\.cloud(\.databricks)?)?|adb-\d+(\.\d+(\.azuredatabricks)?)?|.+\.cloud\.databricks"
    r"|\d+\.\d+\.gcp(\.databricks)?"
)


def check_addresses(
    endpoint: str | None,
    workspace_url: str | None,
    *,
    endpoint_name: str = "endpoint",
    workspace_name: str = "workspace_url",
) -> None:
    """Check URLs, each plain and with a host, for the mistakes that their hosts show.

    An address outside of Databricks' domains, such as that of a proxy or an emulator, always passes.

    Args:
        endpoint: The address of Zerobus, if it is known.
        workspace_url: The address of the workspace, if it is known.
        endpoint_name: The option or variable that `endpoint` is from, for the message.
        workspace_name: The same for `workspace_url`.

    Raises:
        ConfigurationError: One of them is the other, or cut off; the message names the remedy, and never the URL.

    Example:
        >>> check_addresses("https://dbc-1.cloud.databricks.com", None)
        Traceback (most recent call last):
        beam_zerobus.errors.ConfigurationError: endpoint looks like the workspace's address: the endpoint has \
.zerobus. in it, such as https://<workspace-id>.zerobus.<region>.cloud.databricks.com
    """
    found = wrong_address(endpoint, workspace_url, endpoint_name=endpoint_name, workspace_name=workspace_name)
    if found is not None:
        raise ConfigurationError(found[1])


def wrong_address(
    endpoint: str | None,
    workspace_url: str | None,
    *,
    endpoint_name: str = "endpoint",
    workspace_name: str = "workspace_url",
) -> tuple[str, str] | None:
    """Return which option is wrong, ``"endpoint"`` or ``"workspace_url"``, and the message; None where neither is."""
    if endpoint and workspace_url and _is_workspace(_host(endpoint)) and _is_endpoint(_host(workspace_url)):
        swapped = f"{endpoint_name} and {workspace_name} are swapped: the endpoint has .zerobus. in it"
        return "endpoint", f"{swapped}, such as {ENDPOINT_EXAMPLE}"
    if endpoint and (problem := _of_endpoint(_host(endpoint)) or _of_either(endpoint)):
        return "endpoint", f"{endpoint_name} {problem}, such as {ENDPOINT_EXAMPLE}"
    if workspace_url and (problem := _of_workspace(_host(workspace_url)) or _of_either(workspace_url)):
        return "workspace_url", f"{workspace_name} {problem}, such as {WORKSPACE_EXAMPLE}"
    return None


def is_of_databricks(url: str) -> bool:
    """Return whether the host of a URL is in one of Databricks' domains.

    Example:
        >>> is_of_databricks("https://dbc-1.cloud.databricks.com"), is_of_databricks("http://localhost:8080")
        (True, False)
    """
    return _is_databricks(_host(url))


def _of_endpoint(host: str) -> str | None:
    if _is_workspace(host):
        return "looks like the workspace's address: the endpoint has .zerobus. in it"
    if _CUT_ENDPOINT.fullmatch(host):
        return "is cut off: write the whole host"
    if _is_databricks(host) and host.startswith("zerobus."):
        return "lacks the workspace's id: write it before .zerobus."
    return None


def _of_workspace(host: str) -> str | None:
    if _is_endpoint(host) or _CUT_ENDPOINT.fullmatch(host):
        return "looks like the Zerobus endpoint: write the address that the workspace has in the browser"
    if _CUT_WORKSPACE.fullmatch(host):
        return "is cut off: write the whole host"
    if _is_databricks(host) and host.startswith("accounts."):
        return "is the account console: write the address that the workspace has in the browser"
    return None


def _of_either(url: str) -> str | None:
    if not is_of_databricks(url):
        return None
    if url.startswith("http:"):
        return "begins with http://: write https://"
    return "has a path: write the host only" if urlsplit(url).path.strip("/") else None


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").rstrip(".")


def _is_databricks(host: str) -> bool:
    return host.endswith(tuple(f".{domain}" for domain in _DOMAINS))


def _is_endpoint(host: str) -> bool:
    return _is_databricks(host) and "zerobus" in host.split(".")


def _is_workspace(host: str) -> bool:
    return _is_databricks(host) and not _is_endpoint(host)
