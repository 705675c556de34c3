"""Tables that are made, and get columns, from here: ``beam-zerobus create-table``, and what a writer does by itself."""
