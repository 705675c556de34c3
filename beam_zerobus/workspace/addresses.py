"""Whether two addresses look like a Zerobus endpoint and a workspace, before anything is called."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from beam_zerobus.errors import ConfigurationError

__all__ = ["ENDPOINT_EXAMPLE", "WORKSPACE_EXAMPLE", "check_addresses", "wrong_address"]

_DOMAINS = ("databricks.com", "azuredatabricks.net", "databricks.azure.cn", "databricks.azure.us", "databricks.us")
ENDPOINT_EXAMPLE = "https://<workspace-id>.zerobus.<region>.cloud.databricks.com"
WORKSPACE_EXAMPLE = "https://<workspace>.cloud.databricks.com"

# Hosts that end before the domain does; names of a company's own network are none of these.
_CUT_ENDPOINT = re.compile(r"\d+\.zerobus(\.[a-z]+-[a-z0-9-]+)?(\.(cloud|gcp)(\.databricks)?|\.azuredatabricks)?")
_CUT_WORKSPACE = re.compile(
    r"dbc-[0-9a-f]+-[0-9a-f]+(\.cloud(\.databricks)?)?|adb-\d+(\.\d+(\.azuredatabricks)?)?|.+\.cloud\.databricks"
    r"|\d+\.\d+\.gcp(\.databricks)?"
)


def check_addresses(endpoint: str | None, workspace_url: str | None) -> None:
    """Check URLs, each plain and with a host, for the mistakes that their hosts show.

    An address outside of Databricks' domains, such as that of a proxy or a local Zerobus, always passes.

    Raises:
        ConfigurationError: One of them is the other, or cut off; the message names the remedy, and never the URL.

    Example:
        >>> check_addresses("https://dbc-1.cloud.databricks.com", None)
        Traceback (most recent call last):
        beam_zerobus.errors.ConfigurationError: endpoint looks like the workspace's address: the endpoint has \
.zerobus. in it, such as https://<workspace-id>.zerobus.<region>.cloud.databricks.com
    """
    if (found := wrong_address(endpoint, workspace_url)) is not None:
        raise ConfigurationError(found[1])


def wrong_address(endpoint: str | None, workspace_url: str | None) -> tuple[str, str] | None:
    """Return which option is wrong, ``"endpoint"`` or ``"workspace_url"``, and the message; None where neither is."""
    if endpoint and workspace_url and _is_workspace(_host(endpoint)) and _is_endpoint(_host(workspace_url)):
        swapped = "endpoint and workspace_url are swapped: the endpoint has .zerobus. in it"
        return "endpoint", f"{swapped}, such as {ENDPOINT_EXAMPLE}"
    if endpoint and (problem := _of_endpoint(_host(endpoint)) or _of_either(endpoint)):
        return "endpoint", f"endpoint {problem}, such as {ENDPOINT_EXAMPLE}"
    if workspace_url and (problem := _of_workspace(_host(workspace_url)) or _of_either(workspace_url)):
        return "workspace_url", f"workspace_url {problem}, such as {WORKSPACE_EXAMPLE}"
    return None


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
    if not _is_databricks(_host(url)):
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
