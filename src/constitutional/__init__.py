"""Constitutional AI (Bai et al. 2022, arXiv 2212.08073): principles in, a better model out.

Nothing heavy is imported here; a model is loaded where one is used. The public names are found when
they are first asked for, so that ``cai --help`` and a module of this package pay for nothing else.
"""

import importlib
import logging
import typing

if typing.TYPE_CHECKING:
    from constitutional.constitution import (
        Constitution,
        Principle,
        default_constitution,
        load_constitution,
        save_constitution,
    )
    from constitutional.dialogue.conversation import Conversation, Turn
    from constitutional.engines import Engine, SamplingParams, ScriptedEngine, load_engine
    from constitutional.errors import ConstitutionalError
    from constitutional.reading import Run
    from constitutional.supervised import CritiqueRevisionConfig, critique_and_revise

# On a CPU that knows bfloat16, bitsandbytes, which peft loads, tells of a package that it would
# fetch from a hub. Nothing of ours needs it, and later than here it would be told already.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

#: The module of each public name.
_HOMES = {
    "Constitution": "constitution",
    "ConstitutionalError": "errors",
    "Conversation": "dialogue.conversation",
    "CritiqueRevisionConfig": "supervised",
    "Engine": "engines",
    "Principle": "constitution",
    "Run": "reading",
    "SamplingParams": "engines",
    "ScriptedEngine": "engines",
    "Turn": "dialogue.conversation",
    "critique_and_revise": "supervised",
    "default_constitution": "constitution",
    "load_constitution": "constitution",
    "load_engine": "engines",
    "save_constitution": "constitution",
}

__all__ = [
    "Constitution",
    "ConstitutionalError",
    "Conversation",
    "CritiqueRevisionConfig",
    "Engine",
    "Principle",
    "Run",
    "SamplingParams",
    "ScriptedEngine",
    "Turn",
    "critique_and_revise",
    "default_constitution",
    "load_constitution",
    "load_engine",
    "save_constitution",
]


def __getattr__(name: str) -> typing.Any:
    """A public name, from its module (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    found = globals()[name] = getattr(home, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
