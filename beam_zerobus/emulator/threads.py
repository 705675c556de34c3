"""An executor whose threads do not keep the interpreter from ending."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

__all__ = ["DaemonThreads"]


class DaemonThreads(Executor):
    """Runs each task in a daemon thread of its own.

    A gRPC server runs a thread for each open stream. The threads of the standard pool are joined when the interpreter
    ends, so one open stream of an emulator that was not stopped would keep the process from ending. The server limits
    their number by `maximum_concurrent_rpcs`.

    Example:
        >>> DaemonThreads().submit(max, 1, 2).result()
        2
    """

    def submit(self, task: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a task in a new thread; return the future of its result."""
        future: Future[Any] = Future()

        def run() -> None:
            try:
                future.set_result(task(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - the future raises it
                future.set_exception(error)

        threading.Thread(target=run, name="zerobus stream", daemon=True).start()
        return future
