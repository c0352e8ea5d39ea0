"""The constitution as an instrument: something to test, compare, infer and explain."""
"""The constitution as an instrument: to be tested, compared and explained."""
