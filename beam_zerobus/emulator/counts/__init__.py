"""What the emulator counts, and what happened last."""
