"""Pre-registered studies: a question, arms, seeds, measures and rules, written before the run.

A registration is a file (``registered/NAME.yaml``, or one of a user's own). What it says decides
what is run, which numbers are read from the runs, and which verdict they give; nothing is chosen
afterwards, and a fingerprint of it stands beside the results.
"""
