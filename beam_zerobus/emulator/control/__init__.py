"""The control API, with which a test in any language changes and reads the emulator."""
