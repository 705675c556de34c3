"""`HttpCall`: one HTTP request, recorded from its body to its answer."""

from __future__ import annotations

from email.message import Message

from beam_zerobus.emulator.recording.recorder import Recorder, path_of

__all__ = ["HttpCall"]


class HttpCall:
    """One HTTP request; used by one thread.

    Args:
        recorder: Where to; None for no recording.
    """

    def __init__(self, recorder: Recorder | None) -> None:
        self._recorder = recorder
        self._number: int | None = None

    def arrived(self, method: str, target: str, headers: Message, body: bytes) -> None:
        """Record the request; one that only looks at the emulator, such as the page once a second, is left out."""
        path = path_of(target)
        looks = method == "GET" and not path.startswith(("/api/", "/oidc/", "/.well-known/"))
        if self._recorder is not None and self._number is None and not looks:
            self._number = self._recorder.request(
                method, target, dict(headers.items()), headers.get("Authorization"), body
            )

    def answered(self, status: int | None, body: bytes = b"") -> None:
        """Record the answer; a status of None says that the connection was closed without one."""
        if self._recorder is not None and self._number is not None:
            self._recorder.answer(self._number, status, body)
            self._number = None
