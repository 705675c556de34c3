"""Takes the picture in docs/emulator.md, and others: ``python -m tests.emulator.page_picture docs/images``."""

from __future__ import annotations

import datetime as dt
import sys
import threading
import time
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

from beam_zerobus.emulator import Emulator, Faults, ScriptedFault

from .chromium import MISSING, find
from .sdk import RawStream, Stream
from .test_rest import insert

AIR = "main.iot.air_quality"
AIR_DDL = (
    "device STRING NOT NULL, at TIMESTAMP, co2 INT, temp DECIMAL(5,2), place STRUCT<city: STRING, floor: INT>, "
    "tags ARRAY<STRING>"
)
ORDERS = "main.shop.orders"
ORDERS_DDL = "id BIGINT NOT NULL, customer STRING, total DOUBLE, note STRING"
CITIES = ("Zürich", "Genève", "Lugano", "Basel")
START = dt.datetime(2026, 11, 29, 19, 0, tzinfo=dt.UTC)
WIDE = {"width": 1120, "height": 860}
PICTURES: dict[str, dict[str, Any]] = {
    "emulator-page": {"viewport": WIDE, "color_scheme": "light"},
    "dark": {"viewport": WIDE, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "color_scheme": "light", "device_scale_factor": 2},
    "phone-dark": {"viewport": {"width": 360, "height": 740}, "color_scheme": "dark", "device_scale_factor": 2},
}


def air(number: int) -> dict[str, Any]:
    return {
        "device": f"sensor-{number % 40:02}",
        "at": START + dt.timedelta(seconds=number / 7),
        "co2": 400 + number * 37 % 600,
        "temp": Decimal(1800 + number * 13 % 700) / 100 if number % 9 else None,
        "place": {"city": CITIES[number % 4], "floor": number % 6},
        "tags": ["indoor"] if number % 3 else ["roof", "north"],
    }


def traffic(emulator: Emulator, stop: threading.Event) -> None:
    """Write until the event: three streams, REST inserts, and some that are rejected."""
    with ExitStack() as stack:
        streams = [
            (stack.enter_context(Stream(emulator, AIR, AIR_DDL, "proto")), 90),
            (stack.enter_context(Stream(emulator, AIR, AIR_DDL, "arrow")), 250),
        ]
        orders = stack.enter_context(Stream(emulator, ORDERS, ORDERS_DDL, "json"))
        number = 0
        while not stop.wait(0.12):
            for stream, rows in streams:
                stream.send([air(number + index) for index in range(rows + number * 7 % 160)])
                number += rows
            orders.send([{"id": number, "customer": f"c-{number % 900}", "total": number % 97 / 4}])
            if number % 7 == 0:
                insert(emulator, [{"id": number, "customer": "x", "total": 1.5}], table=ORDERS)
            if number % 23 == 0:
                insert(emulator, [{"id": "seven"}], table=ORDERS)


def main() -> int:
    chromium = find()
    if chromium is None:
        print(MISSING)
        return 1
    from playwright.sync_api import sync_playwright

    folder, seconds = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    with Emulator() as emulator, sync_playwright() as playwright:
        emulator.create_table(AIR, AIR_DDL)
        emulator.create_table(ORDERS, ORDERS_DDL)
        with RawStream(emulator, AIR, None) as stream:
            stream.create(AIR)
            stream.end()
        stop = threading.Event()
        thread = threading.Thread(target=traffic, args=(emulator, stop))
        thread.start()
        time.sleep(seconds)
        insert(emulator, [{"id": "seven"}], table=ORDERS)
        insert(emulator, [{"id": 7, "totla": 3}], table=ORDERS)
        emulator.faults = Faults(script=(ScriptedFault("status", at_call=50_000, times=3, code="RESOURCE_EXHAUSTED"),))
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, options in PICTURES.items():
            page = browser.new_context(**options).new_page()
            page.goto(emulator.page_url)
            page.wait_for_selector("#rows tbody tr")
            time.sleep(2.5)
            is_short = name == "emulator-page"
            page.screenshot(path=folder / f"{name}.png", full_page=not is_short, animations="disabled")
        browser.close()
        stop.set()
        thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
