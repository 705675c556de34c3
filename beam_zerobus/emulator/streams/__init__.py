"""Streams over gRPC, from their creation to their end."""
