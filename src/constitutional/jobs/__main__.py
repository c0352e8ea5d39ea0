"""``python -m constitutional.jobs JOB.json [FAILURE]``: one process of a training.

``accelerate launch``, torchrun or Ray starts as many as there are to be, all with the same words;
alone it is a training on one process. What the user can mend ends as one sentence: on standard
error, or in the file FAILURE with the number of the process behind its name.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from transformers.utils import logging

from constitutional import processes
from constitutional.errors import ConstitutionalError
from constitutional.jobs.lifeline import end_with_parent
from constitutional.jobs.records import read_job
from constitutional.jobs.running import run_job
from constitutional.runs import Progress, QuietProgress


def main() -> None:
    """Run the job in the file that the command line names."""
    path, *failure = map(Path, sys.argv[1:])
    logging.disable_progress_bar()
    if processes.count() > 1:
        end_with_parent()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        run_job(read_job(path), Progress() if processes.is_main() else QuietProgress())
    except ConstitutionalError as error:
        _tell(str(error), *failure)
        raise SystemExit(2) from None
    if processes.count() > 1:
        processes.leave()


def _tell(sentence: str, failure: Path | None = None) -> None:
    if failure is not None:
        failure.with_name(f"{failure.name}-{processes.number()}").write_text(sentence)
    elif processes.is_main():
        print(f"Error: {sentence}", file=sys.stderr)


if __name__ == "__main__":
    main()
