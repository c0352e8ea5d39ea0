"""Commands that treat a constitution as an instrument."""
