"""Recordings: every call of every way in, with its timing and its answer, as JSON lines; and their replay.

The first line is ``{"zerobus_recording": 1, ...}``, with the emulator's settings. Each other line has ``at``, the
seconds since the start, and ``kind``:

| kind | what happened | members |
| --- | --- | --- |
| request | an HTTP request arrived | call, method, path, headers, auth, body |
| answer | its answer was sent | call, status (null: the connection was closed without one), error, token |
| stream | a gRPC call began | call, connection, method, headers, auth |
| message | it received a message | call, body |
| half_close | the client sends no more | call |
| response | a message was sent | call, body |
| end | it is over | call, by ("server", "client", "connection"), code, message, details |
| kill, stop, start | the emulator was killed, was stopped, started again | |

``auth`` has no secret: ``{"token": 3}`` is the third token that the emulator issued, ``{"client": true}`` the
client's id and secret, ``{"control": true}`` the control token, ``{"unknown": true}`` anything else, and null nothing.
Bodies are Base64; null is a body that the mask has left out. What Python changes directly is written as the control
API's request.
"""

VERSION = 1

__all__ = ["VERSION"]
