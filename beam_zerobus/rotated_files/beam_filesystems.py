"""Files on a Beam filesystem, to read; imported where there is a URL, as only URLs need Beam."""

from __future__ import annotations

from typing import BinaryIO

from beam_zerobus.logs import importing_beam

with importing_beam():
    from apache_beam.io.filesystem import BeamIOError, CompressionTypes
    from apache_beam.io.filesystems import FileSystems

__all__ = ["list_urls", "open_url", "size_of_url"]


def list_urls(pattern: str) -> list[str]:
    """Return the URLs of the files that match a pattern."""
    (match,) = FileSystems.match([pattern])
    return [metadata.path for metadata in match.metadata_list]


def size_of_url(url: str) -> int | None:
    """Return a file's bytes, or None if it does not exist."""
    (match,) = FileSystems.match([url])
    return next((metadata.size_in_bytes for metadata in match.metadata_list), None)


def open_url(url: str) -> BinaryIO:
    """Open a file to read, as it is stored.

    Raises:
        FileNotFoundError: It does not exist, or cannot be read.
    """
    try:
        if not FileSystems.exists(url):
            raise FileNotFoundError(f"{url} does not exist")
        return FileSystems.open(url, compression_type=CompressionTypes.UNCOMPRESSED)
    except BeamIOError as error:
        raise FileNotFoundError(f"{url} cannot be read: {error}") from error
