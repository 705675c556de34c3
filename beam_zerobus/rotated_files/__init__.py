"""Files that rotate: names, private local files, rotation, retention, local and remote destinations.

The room moves files as bytes and knows no format. Who writes decides when a file is full.
"""
