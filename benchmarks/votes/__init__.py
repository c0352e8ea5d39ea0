"""Fifty raters at once against the arena, on SQLite and PostgreSQL, and a server that is killed."""
