"""`Rejection`: what the service answers when it does not take a stream or a call."""

from __future__ import annotations

import grpc

__all__ = ["Rejection"]


class Rejection(Exception):  # noqa: N818 - it is an answer of the service, not a fault of this program
    """Ends a stream with a status.

    Attributes:
        code: The gRPC status.
        message: What is wrong, with the service's error number where it has one; never a row's value.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @classmethod
    def invalid(cls, message: str, *, number: int | None = None) -> Rejection:
        """Return an INVALID_ARGUMENT, with the service's error number in front.

        Example:
            >>> Rejection.invalid("column 'x' is not in the table", number=8001).message
            "Error 8001: column 'x' is not in the table"
        """
        return cls(grpc.StatusCode.INVALID_ARGUMENT, message if number is None else f"Error {number}: {message}")
