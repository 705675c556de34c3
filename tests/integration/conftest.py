"""The fixtures of the sink's tests."""

from tests.sink.conftest import run, sink

__all__ = ["run", "sink"]
