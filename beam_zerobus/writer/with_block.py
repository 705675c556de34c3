"""`ClosedByWith`: what a ``with`` block closes at its end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from types import TracebackType
from typing import Self

from beam_zerobus.errors import ZerobusError
from beam_zerobus.writer.endings import ABORT_SECONDS

__all__ = ["ClosedByWith"]


class ClosedByWith(ABC):
    """A writer, or several, for ``with`` and ``async with``."""

    @abstractmethod
    def close(self, timeout: float | None = None) -> None:
        """Send what is left, wait for it, and close the streams."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        with suppress(ZerobusError):  # it is logged, and the block's own error is raised
            self.close(ABORT_SECONDS)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)
