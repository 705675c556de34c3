"""Hostile conditions: each kind of fault that once lost, hid or delayed rows."""
