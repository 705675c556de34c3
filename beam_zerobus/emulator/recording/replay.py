"""`Replay`: sends a recording to an emulator, in its order and at its pace, and compares the answers."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import grpc
import orjson
import requests

from beam_zerobus.emulator.recording.lines import body_of
from beam_zerobus.emulator.recording.recorder import TOKEN_PATH, error_of
from beam_zerobus.emulator.recording.replayed_call import End, ReplayedCall
from beam_zerobus.emulator.recording.secrets import CLIENT_SECRET

__all__ = ["Outcome", "Replay", "Target"]

_MAX_REQUESTS = 256
_MAX_DIFFERENCES = 1_000
_REQUEST_SECONDS = 90.0
_COUNTED_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The emulator that gets the calls.

    Attributes:
        endpoint: Its gRPC endpoint.
        workspace_url: Its HTTP port.
        client_id: Its client.
        client_secret: The client's secret.
        control_token: The token of its control API.
        ca_file: The certificate of its authority; None for plain text.
        lives: What kills, stops and starts it, by these names; empty if it cannot be done from here.
    """

    endpoint: str
    workspace_url: str
    client_id: str
    client_secret: str = field(repr=False)
    control_token: str = field(repr=False)
    ca_file: Path | None = None
    lives: Mapping[str, Callable[[], None]] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """What a replay did.

    Attributes:
        requests: HTTP requests that were sent.
        streams: gRPC calls that were sent.
        messages: Messages of these calls.
        left_out: Calls that were not sent, or not whole, since the mask left their bodies out.
        differences: Where answers differ, each as a line of text; at most 1,000.
    """

    requests: int = 0
    streams: int = 0
    messages: int = 0
    left_out: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def is_same(self) -> bool:
        """Whether everything was sent and every answer is the recorded one."""
        return not self.differences and not self.left_out


class Replay:
    """Sends the calls of a recording, in their order.

    A call is sent at its moment, and not before every answer that was recorded earlier is here: so what a client did
    because of an answer follows that answer again, at any speed.

    Args:
        target: The emulator.
        speed: How many times faster than recorded; 0 for without pauses.
        patience: Seconds to wait for an answer.
    """

    def __init__(self, target: Target, *, speed: float = 1.0, patience: float = 60.0) -> None:
        self._target = target
        self._speed = speed
        self._patience = patience
        self._outcome = Outcome()
        self._tokens: dict[int, str] = {}
        self._channels: dict[int, grpc.Channel] = {}
        self._calls: dict[int, ReplayedCall] = {}
        self._sent: dict[int, tuple[str, Future[tuple[int | None, bytes]]]] = {}
        self._pool = ThreadPoolExecutor(_MAX_REQUESTS, thread_name_prefix="replay")
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.verify = True if target.ca_file is None else str(target.ca_file)
        self._has_faults = False
        self._counted = self._uncounted = 0
        self._last_call: int | None = None

    def is_accepted(self) -> bool:
        """Return whether the target is an emulator that takes the control token."""
        return self._statistics()[0] == 200

    def run(self, lines: Iterable[dict[str, Any]]) -> Outcome:
        """Send the calls.

        Raises:
            ConfigurationError: A line of the recording cannot be read.
        """
        start = time.monotonic()
        try:
            for line in lines:
                if self._speed:
                    time.sleep(max(0.0, start + line["at"] / self._speed - time.monotonic()))
                getattr(self, f"_{line['kind']}")(line)
        finally:
            for call in self._calls.values():
                call.cancel()
            for channel in self._channels.values():
                channel.close()
            self._pool.shutdown(wait=False, cancel_futures=True)
        return self._outcome

    def _differs(self, line: Mapping[str, Any], where: str, recorded: object, now: object) -> None:
        if len(self._outcome.differences) < _MAX_DIFFERENCES:
            self._outcome.differences.append(
                f"call {line['call']} at {line['at']:.3f} s, {where}: recorded {recorded}, now {now}"
            )

    # HTTP

    def _request(self, line: dict[str, Any]) -> None:
        self._let_it_count(None)
        body = body_of(line)
        if body is None:
            self._outcome.left_out += 1
            return
        path = line["path"]
        if path == TOKEN_PATH:
            body = self._form(body)
        elif (line["method"], path) == ("PUT", "/control/faults"):
            self._has_faults = _strikes(body)
        headers = {**line["headers"], **self._authorization(line["auth"]), "Connection": "close"}
        future = self._pool.submit(self._ask, line["method"], path, headers, body)
        self._sent[line["call"]] = (f"{line['method']} {path.partition('?')[0]}", future)
        self._outcome.requests += 1

    def _ask(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int | None, bytes]:
        try:
            answer = self._http.request(
                method,
                self._target.workspace_url + path,
                headers=headers,
                data=body,
                timeout=_REQUEST_SECONDS,
                allow_redirects=False,
            )
        except requests.RequestException:
            return None, b""
        return answer.status_code, answer.content

    def _answer(self, line: dict[str, Any]) -> None:
        where, future = self._sent.pop(line["call"], ("", None))
        if future is None:
            return
        try:
            status, body = future.result(self._patience)
        except FutureTimeoutError:
            self._differs(line, where, _http(line["status"], line.get("error")), "no answer")
            return
        error = error_of(body) if status is not None and status >= 400 else None
        if (status, error) != (line["status"], line.get("error")):
            self._differs(line, where, _http(line["status"], line.get("error")), _http(status, error))
        if "token" in line and status == 200:
            self._tokens[line["token"]] = orjson.loads(body)["access_token"]

    def _form(self, body: bytes) -> bytes:
        fields = parse_qsl(body.decode(errors="replace"), keep_blank_values=True)
        secret = self._target.client_secret
        return urlencode([(name, secret if value == CLIENT_SECRET else value) for name, value in fields]).encode()

    def _authorization(self, auth: dict[str, Any] | None) -> dict[str, str]:
        if auth is None:
            return {}
        if "client" in auth:
            pair = f"{self._target.client_id}:{self._target.client_secret}"
            return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        token = self._tokens.get(auth["token"], "unknown") if "token" in auth else "unknown"
        return {"Authorization": f"Bearer {self._target.control_token if 'control' in auth else token}"}

    # gRPC

    def _stream(self, line: dict[str, Any]) -> None:
        self._let_it_count(line["call"])
        headers = {**line["headers"], **self._authorization(line["auth"])}
        metadata = [(name.lower(), value) for name, value in headers.items() if name not in ("content-type", "accept")]
        self._calls[line["call"]] = ReplayedCall(self._channel(line["connection"]), line["method"], metadata)
        self._outcome.streams += 1

    def _channel(self, connection: int) -> grpc.Channel:
        if connection not in self._channels:
            # Connections that the recorded client had apart stay apart: a fault cuts one of them.
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
            where = urlsplit(self._target.endpoint).netloc
            if self._target.ca_file is None:
                self._channels[connection] = grpc.insecure_channel(where, options)
            else:
                credentials = grpc.ssl_channel_credentials(self._target.ca_file.read_bytes())
                self._channels[connection] = grpc.secure_channel(where, credentials, options)
        return self._channels[connection]

    def _message(self, line: dict[str, Any]) -> None:
        call = self._calls.get(line["call"])
        if call is None or call.is_skipped:
            return
        body = body_of(line)
        if body is None:
            call.is_skipped = True
            call.cancel()
            self._outcome.left_out += 1
            return
        self._let_it_count(line["call"])
        if call.messages:
            self._uncounted += 1  # the first one creates the stream
        call.send(body)
        self._outcome.messages += 1

    def _half_close(self, line: dict[str, Any]) -> None:
        call = self._calls.get(line["call"])
        if call is not None:
            call.send(None)

    def _response(self, line: dict[str, Any]) -> None:
        call = self._calls.get(line["call"])
        if call is None or call.is_skipped:
            return
        call.expect(body_of(line) or b"")
        if not call.wait_for_responses(self._patience):
            self._differs(line, call.method, call.expected, f"only {call.progress}")
            call.is_skipped = True
            call.cancel()

    def _end(self, line: dict[str, Any]) -> None:
        call = self._calls.pop(line["call"], None)
        if call is None or call.is_skipped:
            return
        if line["by"] == "client":
            call.cancel()
            return
        end = call.wait_for_end(self._patience)
        if line["by"] == "connection":
            if end is None or end.code == "OK":
                self._differs(line, call.method, "a lost connection", end or "an open stream")
        else:
            recorded = End(line["code"], line["message"], body_of(line, "details") or b"")
            if end != recorded:
                self._differs(line, call.method, recorded, end or "an open stream")
        call.cancel()

    # The emulator

    def _kill(self, line: dict[str, Any]) -> None:
        self._live(line)

    def _stop(self, line: dict[str, Any]) -> None:
        self._live(line)

    def _start(self, line: dict[str, Any]) -> None:
        self._live(line)

    def _live(self, line: dict[str, Any]) -> None:
        change = self._target.lives.get(line["kind"])
        if change is not None:
            change()
            return
        for call in self._calls.values():  # their ends are not the clients' doing, and cannot be repeated
            call.is_skipped = True
            call.cancel()

    def _let_it_count(self, call: int | None) -> None:
        """Wait until the emulator has counted what one call sent, before another one sends.

        Faults strike the n-th call over all streams: the order of calls is a part of the recording.
        """
        last, self._last_call = self._last_call, call
        if not self._has_faults or last == call:
            return
        wanted, deadline = self._counted + self._uncounted, time.monotonic() + _COUNTED_SECONDS
        while (counted := self._calls_counted()) < wanted and time.monotonic() < deadline:
            if last not in self._calls or self._calls[last].is_over:
                break
            time.sleep(0.002)
        self._counted, self._uncounted = counted, 0

    def _calls_counted(self) -> int:
        status, body = self._statistics()
        return sum(table["calls"] for table in orjson.loads(body)["tables"].values()) if status == 200 else 0

    def _statistics(self) -> tuple[int | None, bytes]:
        headers = {"Authorization": f"Bearer {self._target.control_token}"}
        return self._ask("GET", "/control/statistics", headers, b"")


def _strikes(body: bytes) -> bool:
    """Return whether a request sets faults that strike the n-th call."""
    try:
        faults = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(faults, dict) and bool(faults.get("script") or faults.get("rate"))


def _http(status: int | None, error: list[str] | None) -> str:
    if status is None:
        return "no answer"
    return f"{status} {': '.join(error)}" if error else str(status)
