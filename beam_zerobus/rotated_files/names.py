"""Names of rotated files: which writer a file belongs to, and when it was rotated.

    {base}.arrow                            the current file
    {base}.20261123T231945Z-000001.arrow    a rotated one

The part before the rotation is the *base*. Two writers never share a base, so that the retention of one cannot remove
files of the other. The rotated names of one base sort in the order in which the files were written.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["Name", "Rotation", "file_base"]

_MAX_SEQUENCE = 999_999
_MAX_BASE = 200  # with rotation and suffix below the 255 bytes that file systems allow
_STAMP = "%Y%m%dT%H%M%SZ"
_ROTATED = re.compile(r"(?P<base>.+)\.(?P<stamp>\d{8}T\d{6}Z)-(?P<sequence>\d{6})")


@dataclass(frozen=True, slots=True, order=True)
class Rotation:
    """When a file was rotated: a UTC stamp in seconds, and a sequence that orders the rotations of one second."""

    stamp: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.stamp}-{self.sequence:06d}"

    @classmethod
    def following(cls, previous: Rotation | None, now: float) -> Rotation:
        """Return a rotation later than `previous`, whatever the clock says.

        If the clock stops or jumps back, the previous stamp stays and the sequence grows.

        Example:
            >>> first = Rotation.following(None, 0.0)
            >>> str(first), str(Rotation.following(first, -60.0))
            ('19700101T000000Z-000001', '19700101T000000Z-000002')
        """
        stamp = datetime.fromtimestamp(max(now, 0.0), UTC).strftime(_STAMP)
        if previous is None or stamp > previous.stamp:
            return cls(stamp, 1)
        if previous.sequence < _MAX_SEQUENCE:
            return cls(previous.stamp, previous.sequence + 1)
        next_second = datetime.strptime(previous.stamp, _STAMP).replace(tzinfo=UTC) + timedelta(seconds=1)
        return cls(next_second.strftime(_STAMP), 1)


@dataclass(frozen=True, slots=True)
class Name:
    """A file name in its parts.

    Attributes:
        base: Names the writer.
        rotation: None for the current file.
        suffix: Names the kind of file, such as ``.arrow``.
    """

    base: str
    rotation: Rotation | None
    suffix: str

    def __str__(self) -> str:
        return self.stem + self.suffix

    @property
    def stem(self) -> str:
        """The name without its suffix; files that were rotated together share it."""
        return self.base if self.rotation is None else f"{self.base}.{self.rotation}"

    @property
    def order(self) -> tuple[str, bool, str]:
        """A sort key: by base, then the rotated files by age, then the current file."""
        return (self.base, self.rotation is None, str(self.rotation))

    @classmethod
    def parse(cls, text: str, suffixes: Iterable[str]) -> Name | None:
        """Split a file name into its parts; None if it has none of the suffixes.

        Example:
            >>> Name.parse("a.b.c-host-7-0.20261123T231945Z-000001.arrow", [".arrow"]).base
            'a.b.c-host-7-0'
        """
        suffix = next((suffix for suffix in suffixes if text.endswith(suffix)), None)
        if suffix is None or text == suffix:
            return None
        stem = text.removesuffix(suffix)
        rotated = _ROTATED.fullmatch(stem)
        if rotated is None:
            return cls(stem, None, suffix)
        return cls(rotated["base"], Rotation(rotated["stamp"], int(rotated["sequence"])), suffix)


def file_base(name: str, shard: str | None) -> str:
    """Return the base of a writer's files, without any character that a file system rejects.

    Example:
        >>> file_base("main.iot.air_quality", "host:1-42-0")
        'main.iot.air_quality-host_1-42-0'
    """
    base = re.sub(r"[^A-Za-z0-9_.]", "_", name)
    if shard is not None:
        base += "-" + re.sub(r"[^A-Za-z0-9_.-]", "_", shard)
    if _ROTATED.fullmatch(base):  # a shard that looks like a rotated file of another base
        base = base.rpartition(".")[0] + "_" + base.rpartition(".")[2]
    if len(base) > _MAX_BASE:
        base = f"{base[: _MAX_BASE - 20]}-{hashlib.sha256(base.encode()).hexdigest()[:12]}"
    return base
