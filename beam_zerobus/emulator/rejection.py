"""`Rejection`: what the service answers when it does not take a stream or a call."""

from __future__ import annotations

import grpc

__all__ = ["Rejection"]

# A status travels in an HTTP/2 header: one that names something long that the client sent must still fit.
_MAX_MESSAGE = 800


class Rejection(Exception):  # noqa: N818 - it is an answer of the service, not a fault of this program
    """Ends a stream with a status.

    Attributes:
        code: The gRPC status.
        message: What is wrong, with the service's error number where it has one; never a row's value.
        causes: Why a schema does not fit, such as ``FIELD_NOT_IN_TABLE``; empty for anything else.
    """

    def __init__(self, code: grpc.StatusCode, message: str, *, causes: tuple[str, ...] = ()) -> None:
        message = message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}..."
        super().__init__(message)
        self.code = code
        self.message = message
        self.causes = causes

    @classmethod
    def invalid(cls, message: str, *, number: int | None = None, causes: tuple[str, ...] = ()) -> Rejection:
        """Return an INVALID_ARGUMENT, with the service's error number in front.

        Example:
            >>> Rejection.invalid("column 'x' is not in the table", number=8001).message
            "Error 8001: column 'x' is not in the table"
        """
        text = message if number is None else f"Error {number}: {message}"
        return cls(grpc.StatusCode.INVALID_ARGUMENT, text, causes=causes)
