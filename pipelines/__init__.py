"""Pipelines that people run as they are."""
