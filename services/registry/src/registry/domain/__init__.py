"""What a definition is and how it changes: pure, without I/O, clock or randomness."""
