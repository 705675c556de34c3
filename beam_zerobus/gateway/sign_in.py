"""`SignIn`: whether Databricks accepts the gateway's credentials, known before the first call needs them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from beam_zerobus.errors import AuthenticationError, ZerobusError
from beam_zerobus.logs import get_logger, outline
from beam_zerobus.workspace.credentials import Credentials
from beam_zerobus.writer.config import WriterConfig

__all__ = ["SignIn", "SignInState"]

SignInState: TypeAlias = Literal["accepted", "rejected", "unknown"]

_log = get_logger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds between two tries, until the credentials are accepted
_AGAIN = 600.0  # seconds after which accepted credentials are tried again


@dataclass(slots=True)
class _Account:
    """Credentials for a workspace, and the tables written with them; only the thread of `SignIn` changes them."""

    credentials: Credentials
    workspace_url: str
    tables: list[str] = field(default_factory=list)
    state: SignInState = "unknown"
    reason: str = ""

    def try_now(self) -> None:
        """Fetch a token; log what is new."""
        state: SignInState
        try:
            self.credentials.principal()  # rejects a profile whose way to sign in Zerobus does not accept
            self.credentials.request_headers(self.workspace_url, {"scope": "all-apis"})
        except AuthenticationError as error:
            state, reason = "rejected", str(error)
        except ZerobusError as error:
            state, reason = "unknown", str(error)
        except Exception as error:  # noqa: BLE001  of a user's class; a call says the same
            state, reason = "rejected", f"{type(self.credentials).__name__} failed: {outline(error)}"
        else:
            state, reason = "accepted", ""
        is_new = (state, reason) != (self.state, self.reason)
        self.state, self.reason = state, reason
        if is_new:
            self._log()

    def _log(self) -> None:
        tables, reason = ", ".join(self.tables), self.reason
        match self.state:
            case "rejected":
                _log.error(
                    "The credentials for %s do not work, so calls fail; they are tried again: %s", tables, reason
                )
            case "unknown":
                _log.warning("The credentials for %s cannot be tried yet; they are tried again: %s", tables, reason)
            case _:
                _log.info("The credentials for %s are accepted", tables)


class SignIn:
    """Fetches a token with all credentials, in a thread of its own: at the start, and again from time to time.

    The gateway serves in any case: it may start before its network is there, and a secret may be corrected meanwhile.

    Args:
        configs: How tables are written, by what messages call them. Those that need no request are left out.
    """

    def __init__(self, configs: Iterable[tuple[str, WriterConfig]]) -> None:
        self._accounts = _accounts(configs)
        self._closed = threading.Event()
        if self._accounts:
            threading.Thread(target=self._run, name="gateway-sign-in", daemon=True).start()

    @property
    def state(self) -> SignInState:
        """The worst of all credentials."""
        states = {account.state for account in self._accounts}
        return "rejected" if "rejected" in states else "unknown" if "unknown" in states else "accepted"

    def close(self) -> None:
        """Try no more; a request that runs is not waited for."""
        self._closed.set()

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closed.is_set():
            for account in self._accounts:
                account.try_now()
            if self.state == "accepted":
                pause = _FIRST_PAUSE
                self._closed.wait(_AGAIN)
            else:
                self._closed.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)


def _accounts(configs: Iterable[tuple[str, WriterConfig]]) -> list[_Account]:
    """Return each credentials once; those that have no value to compare are each their own."""
    accounts: dict[object, _Account] = {}
    for name, config in configs:
        credentials, url = config.credentials, config.workspace_url
        if not config.signs_in or url is None or not credentials.needs_workspace:
            continue
        key = (url, credentials.identity() or id(credentials))
        accounts.setdefault(key, _Account(credentials, url)).tables.append(name)
    return list(accounts.values())
