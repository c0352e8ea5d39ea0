"""Long lines are read in one pass: a search that begins again at each place would take minutes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fuzz.examples import COT_EXAMPLE, JUDGE_PROMPT
from tests.fuzz.readers import File, read_a_constitution, read_answer_file, read_choices
from tests.fuzz.trying import Target, attempt

LONG = 300_000
BRACKETS = "\n (A) [[[]]]\n (B) [[[" * (LONG // 21)


def choice(prompt: str) -> bytes:
    return json.dumps({"prompt": prompt, "corrects": [" (A)"], "incorrects": [" (B)"]}).encode()


@pytest.mark.parametrize(
    ("read", "file"),
    [
        (
            read_answer_file,
            File(
                json.dumps(
                    {"rl_prompt": "x", "sampled_answers": [{"sampled_string": "\n" * LONG + "x"}]}
                ).encode(),
                ".jsonl",
                1,
            ),
        ),
        (read_choices, File(choice(BRACKETS + "]]]\n\nThe answer is:"), ".jsonl", 1)),
        (read_choices, File(choice("]]]\n (B) [[[" * (LONG // 11) + "]]]\n\nx"), ".jsonl", 1)),
        (read_choices, File(choice("\n (A) x\n (B) y\n\n" * (LONG // 16)), ".jsonl", 1)),
        (
            read_a_constitution,
            File(json.dumps([{"prompt": COT_EXAMPLE.replace("All.", BRACKETS)}]).encode(), "", 0),
        ),
        (
            read_a_constitution,
            File(JUDGE_PROMPT.replace("kind.", f"kind.{' ' * LONG}x").encode(), "", 1),
        ),
    ],
    ids=["line ends", "options", "ends", "lines", "example", "blanks"],
)
def test_a_long_text_takes_no_longer_than_it_must(read: object, file: File) -> None:
    fault = attempt(Target("long", lambda rng: file, read), file)  # type: ignore[arg-type]
    assert fault is None, fault.told


def test_a_list_beyond_its_limit_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from constitutional.dialogue import prompt_files
    from constitutional.dialogue.prompts import load_prompts
    from constitutional.errors import PromptFileError

    monkeypatch.setattr(prompt_files, "MAX_LIST_BYTES", 1000)
    file = tmp_path / "list.json"
    file.write_text(json.dumps(["moss " * 300]))
    with pytest.raises(PromptFileError, match=r"write one object a line \(.jsonl\)"):
        load_prompts(file, kind="helpful")
