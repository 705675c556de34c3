"""The OpenAPI description of the control API, made from its routes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from beam_zerobus.emulator.control.from_json import schema_of
from beam_zerobus.version import __version__

__all__ = ["HEALTH_PATH", "OPENAPI_PATH", "Described", "describe"]

HEALTH_PATH = "/health"
OPENAPI_PATH = "/control/openapi.json"
_JSON = "application/json"


class Described(Protocol):
    """What a route says about itself."""

    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def path(self) -> str: ...  # noqa: D102
    @property
    def summary(self) -> str: ...  # noqa: D102
    @property
    def body(self) -> type | None: ...  # noqa: D102
    @property
    def query(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def takes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def gives(self) -> tuple[str, ...]: ...  # noqa: D102


def describe(routes: Iterable[Described]) -> dict[str, Any]:
    """Return the description of routes, and of the two that need no token."""
    paths: dict[str, dict[str, Any]] = {
        HEALTH_PATH: {"get": {"summary": "Whether it runs", "security": [], "responses": _responses()}},
        OPENAPI_PATH: {"get": {"summary": "This description", "security": [], "responses": _responses()}},
    }
    for route in routes:
        operation: dict[str, Any] = {"summary": route.summary, "responses": _responses(*route.gives)}
        parameters = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
        parameters = parameters if "{name}" in route.path else []
        parameters += [{"name": name, "in": "query", "schema": {"type": "integer"}} for name in route.query]
        if parameters:
            operation["parameters"] = parameters
        content: dict[str, Any] = {kind: {"schema": {}} for kind in route.takes}
        if route.body is not None:
            content = {_JSON: {"schema": schema_of(route.body)}}
        if content:
            operation["requestBody"] = {"content": content}
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Control API of the emulator", "version": __version__},
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}],
        "paths": paths,
    }


def _responses(*further: str) -> dict[str, Any]:
    as_json = {_JSON: {"schema": {"type": "object"}}}
    return {
        "200": {"description": "The answer", "content": as_json | {kind: {"schema": {}} for kind in further}},
        "4XX": {"description": "error_code and message say what is wrong", "content": as_json},
    }
