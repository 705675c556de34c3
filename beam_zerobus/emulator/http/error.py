"""`HttpError`: an answer of the HTTP port other than 200."""

from __future__ import annotations

__all__ = ["HttpError"]


class HttpError(Exception):
    """An answer other than 200.

    Attributes:
        status: The HTTP status.
        body: The JSON body, as OAuth has it, or as Databricks' APIs have it if `code` is in capitals.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        names = ("error_code", "message") if code.isupper() else ("error", "error_description")
        self.body = dict(zip(names, (code, message), strict=True))
