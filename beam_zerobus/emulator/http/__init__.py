"""What the HTTP port answers about the workspace and to REST inserts."""
