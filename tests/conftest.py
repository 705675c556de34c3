"""Shared by all tests: the seed in the header."""

import pytest


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.getoption('--hypothesis-seed')} (set another with --hypothesis-seed=N)"
