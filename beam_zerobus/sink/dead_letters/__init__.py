"""Rejected rows in files, exactly as they were, and back."""

from beam_zerobus.sink.dead_letters.corrected import to_element
from beam_zerobus.sink.dead_letters.json_text import loads
from beam_zerobus.sink.dead_letters.keep import KeepDeadLetters, LetterFormat
from beam_zerobus.sink.dead_letters.letters import to_json, to_record
from beam_zerobus.sink.raw_text import RawText

__all__ = ["KeepDeadLetters", "LetterFormat", "RawText", "loads", "to_element", "to_json", "to_record"]
