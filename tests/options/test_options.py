"""Every wrong value of every option is rejected with a message that names the option, and shows no secret."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_zerobus import Batching, ConfigurationError, DebugFiles, Retry, Telemetry, WriteToZerobus, ZerobusWriter
from beam_zerobus.options.fields import Option, options_of
from beam_zerobus.sink.settings import SinkOptions
from beam_zerobus.writer.config import WriterConfig
from beam_zerobus.writer.writers_config import WritersOptions

SECRET = "s3cret"
URLS_WITH_SECRETS = (
    f"https://me:{SECRET}@host",
    f"https://{SECRET}@host",
    f"https://host?token={SECRET}",
    f"https://host/path?token={SECRET}#x",
    f"https://host#{SECRET}",
    f"ftp://me:{SECRET}@host",
    f"https://me:{SECRET}@host:port",
    f"https://me:{SECRET}@host:99999",
    f"https://me:{SECRET}@[host",
    f"https://me:{SECRET}@",
    f"//me:{SECRET}@host",
    f"me:{SECRET}@host",
    f"host?token={SECRET}",
    f"https://host /{SECRET}",
    f"https://host\t{SECRET}",
    f"https://me:{SECRET}@host\n",
    f"https://me:{SECRET}@ho\u2100st",  # decomposes into a/c, which Python rejects and quotes
    f"\x1bhttps://me:{SECRET}@host",
)


class Hostile:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError(SECRET)

    __str__ = __repr__


ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 64, 65, 10**5000, -(10**5000), 2**63),
    *(math.inf, -math.inf, math.nan, 1e300, -0.0, 5e-324, 86_400, 86_401.0),
    *("", "1", "none", "proto", "lz4", "raise", "true", b"proto", "x" * 10_000),
    *(Hostile(), object, [], ["proto"], {}, {"a": 1}, {1: "a"}, Retry(), Batching(), Telemetry()),
)

ANYTHING: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.sampled_from([object, Retry(), Batching(), Telemetry()]),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.one_of(st.text(), st.integers()), st.one_of(st.text(), st.integers()), max_size=3),
)


CHECKED_FURTHER = ("initial_backoff", "max_backoff", "arrow_compression", "assume_timezone")


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def allowed(option: Option, value: Any) -> bool:
    """Say by itself whether a value is allowed; kept apart from the code that it checks."""
    if value is None and option.may_be_none:
        return True
    if option.choices:
        return isinstance(value, str) and value in option.choices
    names = ("max_retries", "max_files_retained", "initial_backoff", "max_backoff", "max_tables_in_metrics")
    may_be_zero = option.name in names
    most = {"streams_per_worker": 64, "max_open_tables": 10_000}.get(option.name, 2**63 - 1)
    rules: dict[type, Callable[[], bool]] = {
        bool: lambda: value is True or value is False,
        int: lambda: is_number(value) and isinstance(value, int) and (0 if may_be_zero else 1) <= value <= most,
        float: lambda: is_number(value) and value <= 86_400 and (value >= 0 if may_be_zero else value > 0),
        Mapping: lambda: isinstance(value, dict) and all(isinstance(x, str) for item in value.items() for x in item),
        Sequence: lambda: isinstance(value, list | tuple) and all(isinstance(name, str) and name for name in value),
        str: lambda: isinstance(value, str) and value != "",
    }
    return rules[option.kind]()


def cases() -> list[Any]:
    plain = {"table": "a.b.c", "schema": "id INT", "endpoint": "https://host", "workspace_url": "https://host"}
    made: list[tuple[type, Callable[..., Any], dict[str, Any]]] = [
        (Batching, Batching, {}),
        (Retry, Retry, {}),
        (DebugFiles, DebugFiles, {"output_dir": "debug"}),
        (Telemetry, Telemetry, {}),
        (WriterConfig, ZerobusWriter, plain),
        (WriterConfig, WriteToZerobus, plain),
        (SinkOptions, WriteToZerobus, plain),
        (WritersOptions, WriteToZerobus, plain),
    ]
    return [
        pytest.param(make, others, option, id=f"{make.__name__}.{option.name}")
        for declared_by, make, others in made
        for option in options_of(declared_by)
        if option.limits.checked and isinstance(option.kind, type)
        if option.name not in ("batching", "retry", "debug_files", "telemetry")
    ]


def check(make: Callable[..., Any], others: dict[str, Any], option: Option, value: Any) -> None:
    message = None
    try:
        made = make(**{**others, option.name: value})
        if isinstance(made, ZerobusWriter):
            made.close()
    except ConfigurationError as error:
        message = str(error)
    if message is None:
        assert allowed(option, value)
        return
    assert option.name in message
    assert SECRET not in message
    assert not allowed(option, value) or option.name in CHECKED_FURTHER


@pytest.mark.parametrize(("make", "others", "option"), cases())
def test_each_odd_value_is_rejected_and_named(make: Any, others: dict[str, Any], option: Option) -> None:
    for value in ODD_VALUES:
        check(make, others, option, value)


@pytest.mark.parametrize(("make", "others", "option"), cases())
@settings(max_examples=20, deadline=None)
@given(value=ANYTHING)
def test_each_wrong_value_is_rejected_and_named(make: Any, others: dict[str, Any], option: Option, value: Any) -> None:
    check(make, others, option, value)


@pytest.mark.parametrize("make", [ZerobusWriter, WriteToZerobus])
@pytest.mark.parametrize("option", ["retry", "debug_files", "telemetry", "batching", "credentials"])
@settings(max_examples=20, deadline=None)
@given(value=ANYTHING.filter(lambda value: value is not None))
def test_each_object_that_is_not_the_class_of_options_is_rejected_and_named(make: Any, option: str, value: Any) -> None:
    wanted = {"retry": Retry, "batching": Batching, "telemetry": Telemetry}.get(option, ())
    if isinstance(value, wanted) or (option == "batching" and make is ZerobusWriter):
        return
    with pytest.raises(ConfigurationError, match=f"^{option}[^:]*: (give|use) .*(beam_zerobus)"):
        make("a.b.c", schema="id INT", dry_run=True, **{option: value})


@pytest.mark.parametrize("name", ["initial_backoff", "max_backoff"])
@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1e300, True, "1", None, -1])
def test_a_backoff_is_a_finite_number_of_seconds(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"Retry.{name}.*set seconds of at least 0 and at most 86400"):
        Retry(**{name: value})


@pytest.mark.parametrize("url", URLS_WITH_SECRETS, ids=range(len(URLS_WITH_SECRETS)))
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize("option", ["endpoint", "workspace_url", "$ZEROBUS_ENDPOINT", "$DATABRICKS_HOST"])
def test_no_message_repeats_a_url(option: str, dry_run: bool, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"endpoint": "https://host", "workspace_url": "https://host"}
    if option.startswith("$"):
        if dry_run:
            return  # reads no environment
        monkeypatch.setenv(option.removeprefix("$"), url)
        options = {name: value for name, value in options.items() if (name == "endpoint") is ("HOST" in option)}
    else:
        options[option] = url
    with pytest.raises(ConfigurationError) as rejected:
        WriteToZerobus("a.b.c", schema="id INT", dry_run=dry_run, **options)
    assert_tells_nothing(rejected.value, option)


@pytest.mark.parametrize("url", URLS_WITH_SECRETS, ids=range(len(URLS_WITH_SECRETS)))
def test_no_message_repeats_a_url_in_another_option(url: str) -> None:
    with pytest.raises(ConfigurationError) as rejected:
        Telemetry(endpoint=url)
    assert_tells_nothing(rejected.value, "Telemetry.endpoint")
    wrong: list[dict[str, Any]] = [
        {"table": url},
        {"table": f"a.b.{url}"},
        {"wire_format": url},
        {"arrow_compression": url, "wire_format": "arrow"},
        {"streams_per_worker": url},
        {"retry": url},
        {"telemetry": url},
        {"debug_files": url},
        {"credentials": url},
        {"on_bad_rows": url},
    ]
    for options in wrong:
        with pytest.raises(ConfigurationError) as rejected:
            WriteToZerobus(**{"table": "a.b.c", "schema": "id INT", "dry_run": True, **options})
        assert_tells_nothing(rejected.value, next(iter(options)))


def assert_tells_nothing(error: BaseException, option: str) -> None:
    """Check that an error names the option, and that neither it nor an error before it holds the secret."""
    assert option in str(error)
    seen: BaseException | None = error
    while seen is not None:
        assert SECRET not in f"{seen} {seen!r}"
        seen = seen.__cause__ or seen.__context__
