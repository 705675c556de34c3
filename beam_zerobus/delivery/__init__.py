"""Delivery: sends payloads and settles them with their acknowledgements, whatever happens to the stream."""
