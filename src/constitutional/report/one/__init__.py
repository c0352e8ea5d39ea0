"""The report of one run: a section for each part of the method, and what it rests on."""
