"""Clients in five languages, unchanged, against the emulator: one program for each, one list of situations for all."""
