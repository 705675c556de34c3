"""A canary secret, the forms in which it could show, and everything that an error shows."""

from __future__ import annotations

import base64
import pickle
import traceback
from pathlib import Path
from types import TracebackType
from urllib.parse import quote, quote_plus

import pytest

import beam_zerobus

TABLE = "main.iot.air"
LATIN, NOT_LATIN = "c4nary-Secret", "c4nary-geh\u00e9im-\u79d8\u5bc6-\U0001f511"
PACKAGE = str(Path(beam_zerobus.__file__).parent)
canaries = pytest.mark.parametrize("canary", [LATIN, NOT_LATIN], ids=["latin", "not-latin"])


def disguises(canary: str) -> set[str]:
    """Return every form in which a canary could show."""
    encoded = canary.encode()
    forms = {canary, canary[:12], quote(canary), quote_plus(canary), ascii(canary)[1:-1], repr(encoded)[2:-1]}
    for around in ("", "the-id:", "the-id:x"):
        forms.add(base64.b64encode(around.encode() + encoded).decode()[len(around) * 4 // 3 + 4 :][:12])
    return forms


def everything_of(error: BaseException) -> str:
    """Return all that an error shows: text, arguments, pickle, and the locals of this package's frames."""
    copy = pickle.loads(pickle.dumps(error))
    shown = [str(error), repr(error), repr(error.args), repr(error.__dict__), repr(pickle.dumps(error)), repr(copy)]
    pending, seen = [error], set()
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        pending += [current.__cause__, current.__context__]
        frames = traceback.TracebackException(
            type(current), current, _frames_of_the_package(current.__traceback__), capture_locals=True, compact=False
        )
        shown += frames.format(chain=False)
    return "\n".join(shown)


def _frames_of_the_package(found: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of the tests, which hold the canary themselves."""
    if found is None:
        return None
    rest = _frames_of_the_package(found.tb_next)
    if not found.tb_frame.f_code.co_filename.startswith(PACKAGE):
        return rest
    return TracebackType(rest, found.tb_frame, found.tb_lasti, found.tb_lineno)


def assert_hidden(canary: str, *texts: str) -> None:
    for form in disguises(canary):
        for text in texts:
            position = text.find(form)
            assert position < 0, f"{form!r} in ...{text[max(0, position - 300) : position + 100]}"
