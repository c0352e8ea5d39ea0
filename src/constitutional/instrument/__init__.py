"""The constitution as an instrument: to be tested, compared and explained."""
