"""The official clients, unchanged, against the emulator: one program for each language, one list of cases for all."""
