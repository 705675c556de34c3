"""Delivery: payloads go in, acknowledgements come out, whatever happens to the stream in between."""
