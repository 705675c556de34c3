"""A page that installs the package and starts the emulator names the extra that it needs."""

from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def test_pages_that_start_the_emulator_name_its_extra() -> None:
    for page in DOCS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        if "\nbeam-zerobus emulator" in text and "pip install" in text:
            assert "[emulator]" in text or "emulator," in text, page.name
