"""Reading debug files back: `read_arrow`, `read_proto`, and what ``beam-zerobus inspect`` shows."""
