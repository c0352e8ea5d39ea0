"""Fuzzing of everything that reads what others wrote: ``python -m tests.fuzz``, ``make fuzz``.

A target (:mod:`.targets`) is one reader with its valid examples. Its cases come in two ways:
documents built from the examples with keys renamed and values exchanged (hypothesis,
:mod:`.damage`), and their bytes changed at random under the feedback of what code was reached
(atheris, :mod:`.guided`). A fault is anything but an answer or one sentence of ours, and anything
that takes longer than its limit. What was found stays in ``found/`` and is tried by every test run.
"""
