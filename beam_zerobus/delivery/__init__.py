"""Delivery: sends payloads, recovers from lost streams, and gives each payload its outcome."""
