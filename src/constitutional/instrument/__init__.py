"""The constitution as an instrument: something to test, compare, infer and explain."""
