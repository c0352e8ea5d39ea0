"""Faces of a run's results: they read what a run wrote, and hold no logic of the method."""
