"""Tables: their columns, their rows on disk or in memory, and the commits between."""
