from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch

from constitutional.microworld.corpus import Corpus
from constitutional.microworld.tokenizer import build_tokenizer


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def documents() -> list[str]:
    """The first documents of the pretraining text: those that the shipped vocabulary is made of."""
    return list(islice(Corpus(0).documents(), 20_000))


@pytest.fixture(scope="session")
def tokenizer(documents: list[str]) -> Any:
    return build_tokenizer(documents, 1024)
