"""The emulator's page in Chromium; ``make test-page`` runs these."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from beam_zerobus.emulator import Emulator

from .chromium import MISSING, find, is_demanded
from .sdk import RawStream
from .test_rest import insert

pytestmark = pytest.mark.browser
TABLE = "main.iot.air"
DDL = "id BIGINT NOT NULL, name STRING, tags ARRAY<STRING>"
HOSTILE = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    '"><svg onload=window.hacked=1>',
    "javascript:window.hacked=1",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = find()
    if chromium is None:
        if is_demanded():
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def page(browser: Any, emulator: Emulator) -> Iterator[Any]:
    """A page that fails on each error of its script, each breach of its policy, and each request elsewhere."""
    emulator.create_table(TABLE, DDL)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda line: problems.append(line.text) if "Security Policy" in line.text else None)
    addresses: list[str] = []
    opened.on("request", lambda request: addresses.append(request.url))
    yield opened
    assert problems == []
    assert [url for url in addresses if not url.startswith((emulator.workspace_url, "data:"))] == []
    assert not [url for url in addresses if emulator.control_token in url]
    context.close()


def put(emulator: Emulator, *rows: dict[str, Any]) -> None:
    assert insert(emulator, list(rows)).status_code == 200


def test_rows_appear_as_they_arrive_and_stay_text(page: Any, emulator: Emulator) -> None:
    from playwright.sync_api import expect

    put(emulator, {"id": 1, "name": None})
    page.goto(emulator.page_url)
    expect(page.locator("#state")).to_have_text("live")
    expect(page.locator("#rows tbody tr")).to_have_count(1)
    expect(page.locator("#rows .null")).to_have_count(2)
    put(emulator, *[{"id": 2 + index, "name": text, "tags": [text]} for index, text in enumerate(HOSTILE)])
    rows = page.locator("#rows tbody tr")
    expect(rows).to_have_count(1 + len(HOSTILE))
    assert rows.first.locator("td").all_inner_texts()[:2] == [str(1 + len(HOSTILE)), HOSTILE[-1]]
    for text in HOSTILE:
        expect(page.get_by_role("cell", name=text, exact=True)).to_have_count(1)
    requests.post(f"{emulator.workspace_url}/zerobus/v1/tables/{HOSTILE[1]}/insert", data="[]", timeout=20)
    emulator.faults = None
    with RawStream(emulator, HOSTILE[0], emulator.issue_token(HOSTILE[0])) as stream:
        stream.create(HOSTILE[0])
        stream.end()
    expect(page.locator("#events .text", has_text=f"NOT_FOUND: Table '{HOSTILE[0]}'")).to_have_count(1)
    assert page.evaluate("window.hacked") is None
    assert page.locator("#board script, #board img").count() == 0
    assert page.url == emulator.workspace_url + "/"
    page.reload()
    expect(rows).to_have_count(1 + len(HOSTILE))


def test_without_the_token_it_says_where_the_token_is(page: Any, emulator: Emulator) -> None:
    from playwright.sync_api import expect

    page.goto(emulator.workspace_url)
    expect(page.locator("#locked")).to_contain_text("ZEROBUS_CONTROL_TOKEN")
    expect(page.locator("#board")).to_be_hidden()
    page.get_by_label("Control token").fill("guess")
    page.get_by_role("button", name="Open").click()
    expect(page.locator("#why")).to_contain_text("does not know this token")
    page.get_by_label("Control token").fill(emulator.control_token)
    page.get_by_role("button", name="Open").click()
    expect(page.locator("#board")).to_be_visible()
    expect(page.locator("#locked")).to_be_hidden()


def test_faults_streams_and_the_clock_are_steered(page: Any, emulator: Emulator) -> None:
    from playwright.sync_api import expect

    token = emulator.issue_token(TABLE, life=3600)  # on a busy machine the steps before its end may take minutes
    page.goto(emulator.page_url)
    page.get_by_label("What happens").select_option("status")
    page.locator("#fault-code").select_option("RESOURCE_EXHAUSTED")
    page.get_by_role("button", name="Switch on").click()
    expect(page.locator("#faults")).to_contain_text("RESOURCE_EXHAUSTED: strikes call 1")
    assert emulator.faults.script[0].code == "RESOURCE_EXHAUSTED"
    assert insert(emulator, [{"id": 1}]).status_code == 429
    expect(page.locator("#events .rejected")).to_contain_text("429: injected fault")
    expect(page.locator("#rejected")).to_have_text("1")
    page.get_by_role("button", name="Switch all off").click()
    expect(page.locator("#faults")).to_contain_text("No fault is switched on")
    page.get_by_label("Random faults").fill("30")
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.locator("#faults")).to_contain_text("random: 30 %")
    page.get_by_role("button", name="Switch all off").click()
    expect(page.locator("#faults")).to_contain_text("No fault is switched on")
    with RawStream(emulator, TABLE, emulator.issue_token(TABLE)) as stream:
        stream.create(TABLE)
        stream.receive()
        stream.send_json(0, '{"id": 5}')
        expect(page.locator("#streams tbody tr")).to_contain_text("open")
        expect(page.locator("#streams tbody tr")).to_contain_text(re.compile(r"\d m?s"))
        page.get_by_role("button", name="Rotate all").click()
        assert "Error 6002" in stream.end()[1]
    expect(page.locator("#streams tbody tr")).to_contain_text("UNAVAILABLE")
    expect(page.locator("#tokens tbody tr").last).to_contain_text("valid")
    page.get_by_role("button", name="+ 1 h").click()
    expect(page.locator("#tokens tbody tr").last).to_contain_text("expired")
    expect(page.locator("#ahead")).to_have_text("60 min ahead")
    assert insert(emulator, [{"id": 1}], token).status_code == 401
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Reset everything").click()
    expect(page.locator("#tables button")).to_have_count(0)
    assert emulator.tables == ()


def test_rows_that_come_late_are_not_shown_for_another_table(page: Any, emulator: Emulator) -> None:
    from playwright.sync_api import expect

    other = "main.iot.water"
    emulator.create_table(other, "depth INT")
    put(emulator, {"id": 77})
    page.goto(emulator.page_url)
    expect(page.locator("#rows")).to_contain_text("77")
    held: list[Any] = []
    page.route(f"**/{TABLE}/recent", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks it
    while not held:
        page.wait_for_timeout(50)
    page.get_by_role("tab", name=other).click()
    expect(page.locator("#rows")).to_contain_text("No rows")
    page.evaluate(
        """window.seen = [];
        new MutationObserver(() => seen.push(document.getElementById("rows").textContent))
            .observe(document.getElementById("rows"), { childList: true });"""
    )
    for route in held:
        with page.expect_response(f"**/{TABLE}/recent"):
            route.continue_()
    with page.expect_response("**/control/activity"):
        pass
    assert not [text for text in page.evaluate("seen") if "77" in text]


def test_it_says_when_it_cannot_reach_the_emulator(page: Any, emulator: Emulator) -> None:
    from playwright.sync_api import expect

    page.goto(emulator.page_url)
    expect(page.locator("#state")).to_have_text("live")
    page.context.set_offline(True)
    expect(page.locator("#state")).to_have_text("not reachable")
    page.context.set_offline(False)
    expect(page.locator("#state")).to_have_text("live")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_has_both_schemes(page: Any, emulator: Emulator, scheme: str, width: int) -> None:
    from playwright.sync_api import expect

    put(emulator, *[{"id": number, "name": "a long name " * 20, "tags": ["x"] * 30} for number in range(60)])
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.goto(emulator.page_url)
    expect(page.locator("#rows tbody tr")).to_have_count(50)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    brightness = [sum(int(part) for part in color[4:-1].split(",")) for color in (ground, ink)]
    assert (brightness[0] > brightness[1]) == (scheme == "light")
