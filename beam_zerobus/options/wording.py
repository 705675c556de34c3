"""Messages about options as each user gives these: flags of a pipeline or a command, keys of Beam YAML or of TOML.

The clients of a gateway read such messages too: there the options are keys of the gateway's file.

A message names options as Python does: ``Batching.max_rows=0``, ``pass endpoint=...``, ``Retry(max_retries=...)``. A
name with a dot or an underscore is an option wherever it is, a word such as ``schema`` only before ``=`` or where a
clause begins with it. What is in quotes is a column, a file or a value, and stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

from beam_zerobus.errors import ConfigurationError

__all__ = ["Wording", "for_beam_yaml", "for_client", "for_command", "for_pipeline", "for_toml", "reason_in", "reworded"]

Wording: TypeAlias = Callable[[str], str]
"""Returns a message with options named as one kind of user gives them; it can be pickled."""


class _RejectedRow(Protocol):
    @property
    def message(self) -> str: ...
    @property
    def stage(self) -> str: ...


_CLASSES_OF_ALL = ("WriteToZerobus", "ZerobusWriter")  # their arguments are options by their own names
_QUOTED = r"""(?<!\w)(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")(?!\w)"""
_VERB = r"(?= (?:is|are|has|holds|looks|begins|lacks|and|names|needs|\(of))"


def for_pipeline(names: Mapping[str, str]) -> Wording:
    """Return how messages name flags of a pipeline.

    Args:
        names: The flag without its prefix, by each name that a message may have for the option.

    Example:
        >>> for_pipeline({"endpoint": "endpoint"})("endpoint is not set: pass endpoint=...")
        '--zerobus_endpoint is not set: pass --zerobus_endpoint=...'
    """
    return _Wording(names, _as_pipeline_flag)


def for_command(names: Iterable[str]) -> Wording:
    """Return how messages name flags of a command.

    Example:
        >>> for_command(["warehouse_id"])("the warehouse was not found (404): check warehouse_id")
        'the warehouse was not found (404): check --warehouse-id'
    """
    return _Wording({name: name for name in names}, _as_flag)


def for_beam_yaml(names: Mapping[str, str]) -> Wording:
    """Return how messages name keys of Beam YAML.

    Args:
        names: The key, by each name that a message may have for the option.

    Example:
        >>> for_beam_yaml({"Batching.max_rows": "batch_max_rows"})("Batching.max_rows=0: set a whole number")
        'batch_max_rows: 0: set a whole number'
    """
    return _Wording(names, _as_yaml_key)


def for_toml(names: Mapping[str, str]) -> Wording:
    """Return how messages name keys of a TOML file.

    Args:
        names: The key, by each name that a message may have for the option.

    Example:
        >>> for_toml({"Retry.max_retries": "retry.max_retries"})("Retry.max_retries=-1: set a whole number")
        'retry.max_retries=-1: set a whole number'
    """
    return _Wording(names, _as_toml_key)


def for_client(names: Mapping[str, str]) -> Wording:
    """Return how messages name keys of a gateway's TOML file to its clients: only its operator sets them.

    Args:
        names: The key, by each name that a message may have for the option.

    Example:
        >>> for_client({"Retry.max_retries": "retry.max_retries"})("raise it, or set Retry.max_retries=8")
        "raise it, or have the gateway's operator set retry.max_retries=8"
    """
    return _Wording(names, _as_toml_key, request="have the gateway's operator set ")


def reason_in(wording: Wording, row: _RejectedRow) -> str:
    """Return why a row was rejected, in a wording; what the service says stays as it is.

    Args:
        wording: How the user names options.
        row: A `RowError`, or an element of `failed_rows`.
    """
    return row.message if row.stage == "service" else wording(row.message)


@contextmanager
def reworded(wording: Wording) -> Iterator[None]:
    """Name options otherwise in the errors of a block that checks them.

    Raises:
        ConfigurationError: The block raised one.
    """
    try:
        yield
    except ConfigurationError as error:
        raise ConfigurationError(wording(str(error))) from error


def _as_pipeline_flag(name: str, equals: str) -> str:
    return f"--zerobus_{name}{equals}"


def _as_flag(name: str, equals: str) -> str:
    return f"--{name.replace('_', '-')}{equals}"


def _as_yaml_key(name: str, equals: str) -> str:
    return f"{name}: " if equals else name


def _as_toml_key(name: str, equals: str) -> str:
    return f"{name}{equals}"


class _Wording:
    """Finds the names of options in a message, and writes each as the user gives it; keeps its last results.

    Args:
        names: What `write` receives, by each name that a message may have for the option.
        write: Returns the option's name for the user, from that and from the ``=`` after it, if there is one.
        request: What asks the user to set an option, in place of ``set``, ``pass`` or ``give``; None keeps these.
    """

    def __init__(self, names: Mapping[str, str], write: Callable[[str, str], str], request: str | None = None) -> None:
        self._names = dict(names)
        self._write = write
        self._request = request
        self._pattern = _pattern(names)
        self._reworded = lru_cache(maxsize=1_000)(self._reword)  # many rows have the same reason

    def __reduce__(self) -> tuple[Any, ...]:
        return _Wording, (self._names, self._write, self._request)

    def __call__(self, message: str) -> str:
        return self._reworded(message)

    def _reword(self, message: str) -> str:
        return self._pattern.sub(self._rewrite, message)

    def _rewrite(self, found: re.Match[str]) -> str:
        names, write = self._names, self._write
        if found["class"]:
            prefix = "" if found["class"] in _CLASSES_OF_ALL else f"{found['class']}."
            inside = [f"{prefix}{name}" for name in re.findall(r"\w+", found["arguments"])]
            if not {*inside} <= {*names}:
                return found[0]
            option = " and ".join(write(names[name], "") for name in inside)
        elif name := found["plain"] or found["word"] or found["first"]:
            option = write(names[name], found["equals"] or "")
        else:
            return found[0]
        asked = (self._request or found["request"]) if found["request"] else ""
        return f"{asked}{option}"


def _pattern(names: Iterable[str]) -> re.Pattern[str]:
    words = {name for name in names if name.isalpha()}
    plain = {*names} - words
    classes = {name.partition(".")[0] for name in plain if "." in name} | {*_CLASSES_OF_ALL}
    begin, end = r"(?<![\w.\-$/{])", r"(?![\w/-]|\.\w)"
    return re.compile(
        rf"{_QUOTED}"
        rf"|(?P<request>{begin}(?:give|pass|set) )?"
        rf"(?:{begin}(?P<class>{_any_of(classes)})\((?P<arguments>\w+=\.\.\.(?:, \w+=\.\.\.)*)\)"
        rf"|(?:{begin}(?P<plain>{_any_of(plain)}){end}"
        rf"|{begin}(?P<word>{_any_of(words)})(?==)"
        rf"|(?:^|(?<=[:;] ))(?P<first>{_any_of(words)}){_VERB})(?P<equals>=)?)"
    )


def _any_of(names: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, names), key=len, reverse=True)) or "(?!)"
