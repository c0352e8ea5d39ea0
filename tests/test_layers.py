"""Who may import whom, what is loaded without a model, and the names that are public."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import constitutional

PACKAGE = Path(constitutional.__file__).parent
MODEL_LIBRARIES = {"torch", "transformers", "accelerate", "peft", "trl"}
# Words and means may use these, but only inside the function that needs one.
LATE_LIBRARIES = {"datasets", "fsspec", "matplotlib", "openai", "pandas", "pyarrow", "ray", "vllm"}
HEAVY = MODEL_LIBRARIES | LATE_LIBRARIES
# What words are made of, besides the standard library.
WORD_LIBRARIES = {"constitutional", "jinja2", "pydantic", "pydantic_core", "yaml"}

# Where a module lives; the longest prefix counts. A new wing needs a line here.
LAYERS = {
    "": "public names",
    "errors": "words",
    "archives": "words",
    "documents": "words",
    "refusal": "words",
    "spool": "words",
    "constitution": "words",
    "dialogue": "words",
    "runs.records": "words",
    # types alone: prompts and completions, verdicts
    "engines.base": "words",
    "engines.thoughts": "words",
    "evaluation.verdicts": "words",
    "engines": "means",
    "runs": "means",
    "evaluation": "means",
    "engines.cache": "torch",
    "engines.choices": "torch",
    "engines.decoding": "torch",
    "engines.loading": "torch",
    "engines.local": "torch",
    "engines.padded": "torch",
    "engines.ragged": "torch",
    "engines.ragged_cache": "torch",
    "engines.rows": "torch",
    "engines.sharing": "torch",
    "engines.shelf": "torch",
    "engines.sampler": "torch",
    "adapters": "torch",
    "packing": "torch",
    "processes": "torch",
    "engines.vllm.engine": "torch",
    "training": "torch",
    "training_checks": "torch",
    "training_settings": "words",
    "red_teaming": "stage",
    "supervised": "stage",
    "feedback": "stage",
    "preference": "stage",
    "rl": "stage",
    "microworld": "microworld",
    "recipe": "whole",
    # what a machine has and what a model's shape costs is asked without a recipe
    "planning": "whole",
    "planning.machine": "means",
    "planning.amounts": "means",
    "planning.shape": "means",
    "planning.known": "means",
    "planning.hardware": "means",
    "inputs": "whole",
    "execution": "whole",
    "pipeline": "whole",
    "jobs": "whole",
    "stages": "whole",
    "handover": "whole",
    "instrument": "whole",
    "reading": "face",
    "arena": "face",
    "cli": "face",
    "report": "face",
    "web": "face",
}

# What a layer may import besides its own wing; a stage may not import another stage.
BELOW = {
    "words": {"words"},
    "means": {"words", "means"},
    "torch": {"words", "means", "torch"},
    "stage": {"words", "means", "torch"},
    "microworld": {"words", "means", "torch"},
    "whole": {"words", "means", "torch", "stage", "whole"},
    "face": {"words", "means", "torch", "stage", "whole", "face"},
    "public names": {"words", "means", "stage", "whole", "face"},
}

# The microworld is never the product: only these know of it.
ENTRANCES_OF_THE_MICROWORLD = {
    "cli.app",
    "cli.microworld",
    "inputs.data",
    "inputs.reading",
    "recipe.reading",
}

# Each is a decision; a line that nothing needs any more fails the test.
EXCEPTIONS = {
    # The factory imports the engine it was asked for.
    ("engines", "engines.local"),
    ("engines.pool", "engines.vllm.engine"),
    # The helpful-only model is finetuned by the same code as SL-CAI.
    ("microworld.build", "supervised.finetune"),
    ("microworld.build", "supervised.settings"),
}


def module_name(path: Path) -> str:
    """Such as ``engines.base``; ``engines`` for its ``__init__``, and "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def prefix_of(module: str) -> str:
    """The entry of LAYERS that ``module`` falls under."""
    while module and module not in LAYERS:
        module = module.rpartition(".")[0]
    return module


def layer(module: str) -> str:
    return LAYERS[prefix_of(module)]


def top(name: str) -> str:
    return name.partition(".")[0]


#: The wing of a module is the first part of its name.
wing = top


def imported(module: str, *, at_run_time: bool = False) -> Iterator[str]:
    """The full names that ``module`` imports, anywhere in its file, inside functions too."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for_types_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if at_run_time and node in for_types_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{module}: imports are absolute here"
            for alias in node.names:
                # `from package import module` imports the module, any other name its home
                name = f"{node.module}.{alias.name}".removeprefix("constitutional.")
                yield f"constitutional.{name}" if name in MODULES else node.module


def imported_here(module: str) -> set[str]:
    """The modules of this package that ``module`` imports."""
    return {name.partition(".")[2] for name in imported(module) if top(name) == "constitutional"}


def may_import(module: str, other: str) -> bool:
    if layer(other) == "microworld" and module in ENTRANCES_OF_THE_MICROWORLD:
        return True
    same_wing = (wing(module), layer(module)) == (wing(other), layer(other))
    return same_wing or layer(other) in BELOW[layer(module)]


def test_every_module_has_a_place() -> None:
    used = {module: prefix_of(module) for module in MODULES}
    assert [module for module, prefix in used.items() if module and not prefix] == []
    assert set(LAYERS) - set(used.values()) == set(), "no module falls under these"


def test_imports_respect_the_layers() -> None:
    pairs = {(module, other) for module in MODULES for other in imported_here(module)}
    wrong = {(module, other) for module, other in pairs if not may_import(module, other)}
    assert wrong - EXCEPTIONS == set()
    assert EXCEPTIONS - wrong == set(), "these exceptions are not needed any more"


def libraries_of(*layers: str) -> set[tuple[str, str]]:
    return {
        (module, top(name))
        for module in MODULES
        if layer(module) in layers
        for name in imported(module, at_run_time=True)
    }


def test_words_and_means_use_no_model_library() -> None:
    used = libraries_of("words", "means")
    assert {pair for pair in used if pair[1] in MODEL_LIBRARIES} == set()


def test_words_need_few_libraries() -> None:
    allowed = WORD_LIBRARIES | LATE_LIBRARIES | sys.stdlib_module_names
    assert {pair for pair in libraries_of("words") if pair[1] not in allowed} == set()


def loaded_after(code: str) -> set[str]:
    """The top-level modules in a fresh process once it has run ``code``."""
    last = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{last}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_words_means_and_recipes_load_without_torch() -> None:
    light = [m for m in MODULES if layer(m) in {"public names", "words", "means"}]
    names = [
        f"constitutional.{m}".rstrip(".") for m in (*light, "recipe", "reading", "report.summary")
    ]
    loaded = loaded_after(f"import {', '.join(names)}")
    assert "constitutional" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("words", ["--help", "--version", "run --help", "constitution --help"])
def test_help_loads_no_heavy_library(words: str) -> None:
    code = f"""
import sys
from constitutional.cli import main
sys.argv = ["cai", *{words.split()}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
    loaded = loaded_after(code)
    assert "typer" in loaded
    assert loaded & (HEAVY | {"rich", "yaml"}) == set()


def test_public_names() -> None:
    for name in constitutional.__all__:
        getattr(constitutional, name)  # found when it is first asked for
    public = [
        name
        for name, value in vars(constitutional).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    ]
    assert constitutional.__all__ == sorted(public)
    assert set(constitutional.__all__) <= set(dir(constitutional))
    with pytest.raises(AttributeError, match="no attribute 'Constituton'"):
        constitutional.Constituton  # noqa: B018


def test_the_package_alone_loads_nothing_of_its_own() -> None:
    loaded = loaded_after("import constitutional")
    assert "constitutional" in loaded
    assert loaded & {"pydantic", "rich", "yaml", "jinja2"} == set()
