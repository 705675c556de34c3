"""The page's files, with the headers that bind what a browser does with them."""

from __future__ import annotations

from importlib.resources import files

from beam_zerobus.emulator.http.answer import HttpAnswer

__all__ = ["page_file"]

_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
_HEADERS = {
    # Only the page's own files: text that a row holds can neither run, nor load or send anything.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


def page_file(path: str) -> HttpAnswer | None:
    """Return the page's file at a path; None if there is none.

    Example:
        >>> page_file("/page.css").content_type
        'text/css; charset=utf-8'
    """
    if path not in _FILES:
        return None
    name, content_type = _FILES[path]
    body = files("beam_zerobus.emulator.page").joinpath(name).read_bytes()
    return HttpAnswer(content_type=content_type, body=body, headers=_HEADERS)
