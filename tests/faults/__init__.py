"""Faults done to a small real run, to see that nothing is lost or doubled: ``make faults``.

``world`` is the run and what is watched of it; ``kills``, ``stops``, ``damages``, ``disks`` and
``others`` do the faults; ``table`` writes what came of it.
"""
