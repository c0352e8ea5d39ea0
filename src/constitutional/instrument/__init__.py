"""The constitution as an instrument: something to test, compare and explain."""
