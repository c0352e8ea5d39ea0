"""What a run will take, before anything is spent: tokens, arithmetic, memory, time, disk.

Small pure functions over two records: the shape of a model (:mod:`.shape`, from its
``config.json``, without weights) and the work of a stage (:mod:`.work`, from a recipe). What is
known is exact; what is not is an :class:`~.amounts.Amount` with its range.
"""
