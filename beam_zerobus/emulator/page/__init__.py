"""The emulator's page: three files that the HTTP port serves, and what they show."""

from beam_zerobus.emulator.page.files import page_file
from beam_zerobus.emulator.page.view import PageView

__all__ = ["PageView", "page_file"]
