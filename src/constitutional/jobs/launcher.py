"""``accelerate launch`` without the report that torch's agent makes of a process that failed.

The processes say what failed in a file of one sentence: :mod:`constitutional.jobs.launch`.
"""

from __future__ import annotations

import logging
import sys

from accelerate.commands import launch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from constitutional.jobs.lifeline import end_with_parent


def main() -> None:
    """Launch as the command line says, in the words of ``accelerate launch``."""
    end_with_parent()
    logging.disable()
    try:
        launch.main()
    except ChildFailedError as error:
        sys.exit(next(iter(error.failures.values())).exitcode % 256)
    except SignalException as error:
        sys.exit(128 + error.sigval)


if __name__ == "__main__":
    main()
