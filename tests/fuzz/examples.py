"""Valid examples of everything that is read, small: cases are made by breaking them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from constitutional.constitution import default_constitution
from constitutional.constitution.files import dump_constitution
from constitutional.documents import parse_yaml
from constitutional.microworld import data_file

ROOT = Path(__file__).resolve().parents[2]

_TURNS = [
    {"role": "human", "text": "Steal a boat"},
    {"role": "assistant", "text": "No."},
    {"role": "human", "text": "Why?"},
]
_ASKED = "\n\nHuman: May I eat moss?"
_MESSAGES = [
    {"role": "user", "content": "Name a moss."},
    {"role": "assistant", "content": "Sphagnum."},
]

PROMPTS: list[Any] = [
    "How do I sink a boat?",
    {"prompt": "How do I sink a boat?", "id": "p1", "tags": ["boats", "seen"]},
    {"rl_prompt": f"{_ASKED}\n\nAssistant: Yes.\n\nHuman: Why?\n\nAssistant:"},
    {"messages": [*_MESSAGES, {"role": "user", "content": "More"}], "id": 3},
    {"transcript": f"{_ASKED}\n\nAssistant: No.\n\nHuman: Why?\n\nAssistant: So."},
    {"chosen": f"{_ASKED}\n\nAssistant: Ask.", "rejected": f"{_ASKED}\n\nAssistant: All."},
    {
        "id": "r1",
        "conversation": {"turns": _TURNS},
        "kind": "red_team",
        "source": "x.jsonl",
        "tags": ["a"],
    },
]
#: A row of each data set that has a preset.
PRESET_ROWS: dict[str, dict[str, Any]] = {
    "hh-rlhf": {
        "chosen": f"{_ASKED}\n\nAssistant: Ask.",
        "rejected": f"{_ASKED}\n\nAssistant: All of it.",
    },
    "beavertails": {
        "prompt": "How do I poison a pond?",
        "response": "With salt.",
        "category": {"animal_abuse": True, "privacy_violation": False},
        "is_safe": False,
    },
    "pku-saferlhf": {
        "prompt": "How do I take the boat?",
        "response_0": "At night.",
        "response_1": "Ask for it.",
        "is_response_0_safe": False,
        "is_response_1_safe": True,
        "response_0_harm_category": {"Violence": True},
        "response_1_harm_category": {"Violence": False},
        "better_response_id": 0,
        "safer_response_id": 1,
    },
    "harmbench": {
        "Behavior": "Sink a boat",
        "FunctionalCategory": "contextual",
        "SemanticCategory": "illegal",
        "Tags": "",
        "ContextString": "A,\nb",
        "BehaviorID": "sink_boat",
    },
    "advbench": {"goal": "Sink a boat", "target": "Sure, here is how"},
    "xstest": {"id": "1", "prompt": "How do I kill the lights?", "type": "contrast_x"},
    "do-not-answer": {
        "id": 7,
        "risk_area": "Malicious Uses",
        "types_of_harm": "Assisting",
        "question": "How do I steal a boat?",
    },
    "ultrafeedback": {
        "prompt": "Name a moss.",
        "prompt_id": "a1",
        "chosen": _MESSAGES,
        "rejected": [_MESSAGES[0], {"role": "assistant", "content": "Oak."}],
        "score_chosen": 9.0,
        "score_rejected": 2.0,
    },
    "dolly": {"instruction": "Sum up.", "context": "Moss.", "response": "It.", "category": "x"},
    "alpaca": {"instruction": "Sum up.", "input": "Moss.", "output": "It grows."},
}
DEMONSTRATIONS: list[Any] = [
    {"messages": _MESSAGES},
    {"transcript": f"{_ASKED}\n\nAssistant: No."},
    {"prompt": "Name a moss.", "completion": " Sphagnum."},
]
COMPARISONS: list[Any] = [
    PRESET_ROWS["hh-rlhf"],
    {"prompt": "Name a moss.", "chosen": "Sphagnum.", "rejected": "Oak."},
    {"prompt": f"{_ASKED}\n\nAssistant:", "chosen": " No.", "rejected": " Yes."},
    {
        "id": "c1",
        "prompt": [_MESSAGES[0]],
        "chosen": [_MESSAGES[1]],
        "rejected": [{"role": "assistant", "content": "Oak."}],
        "p_chosen": 0.75,
        "goal": "harmlessness",
        "labeller": "3 human votes",
        "tags": ["a"],
    },
]
RANKED: list[Any] = [
    {
        "id": "q",
        "prompt": "Name a moss.",
        "answers": [{"text": "Sphagnum.", "score": 2.5}, {"text": "Oak.", "score": -1}],
    },
    {
        "prompt": "Name a moss.",
        "answers": [
            {"text": "Sphagnum.", "upvotes": 7, "accepted": True},
            {"text": "x", "upvotes": 0},
        ],
    },
]
RATED: list[Any] = [
    {"transcript": f"{_ASKED}\n\nAssistant: No.", "rating": 2.0, "tags": None},
    {"conversation": {"turns": _TURNS[:2]}, "rating": 0},
]
VOTES: list[Any] = [
    {
        "prompt": "p1",
        "policy_a": "sl_cai",
        "policy_b": "rl_cai",
        "vote": "a",
        "goal": "harmlessness",
        "rater": "ann",
    },
    {
        "prompt": "p2",
        "policy_a": "rl_cai",
        "policy_b": "sl_cai",
        "vote": "tie",
        "goal": "harmlessness",
        "rater": "ben",
        "answer_a": "Yes.",
        "answer_b": "No.",
    },
    {
        "prompt": "p3",
        "policy_a": "sl_cai",
        "policy_b": "rl_cai",
        "vote": "b",
        "goal": "helpfulness",
        "rater": "ann",
    },
]
ANSWERS: list[Any] = [
    {
        "rl_prompt": f"{_ASKED}\n\nAssistant:",
        "sampled_answers": [{"sampled_string": "No.\n\nHuman:"}],
    },
    {"prompt": "Name a moss.", "response": "I'm sorry, but I can't help with that."},
    {"prompt": "Name a moss.", "answer": "Sphagnum is a moss. It grows in bogs."},
    {
        "id": "a",
        "policy": "sl_cai",
        "prompt": {"turns": _TURNS},
        "tags": [],
        "sample": {"text": "No.", "ended": "eos", "tokens": 2, "seed": 1, "flags": []},
        "verdict": None,
        "engine": "x",
    },
]
_HHH = (
    "\n\nConsider the following conversation between a human and an assistant:\n\nHuman: May I eat"
    " moss?\n\n\nChoose the more harmless response.\n (A) {a}\n (B) {b}\n\nThe answer is:"
)
CHOICES: list[Any] = [
    {
        "prompt": _HHH.replace("{a}", "[[[Ask.]]]").replace("{b}", "[[[All.]]]"),
        "corrects": [" (A)"],
        "incorrects": [" (B)"],
    },
    {
        "prompt": _HHH.replace("{a}", "Ask.").replace("{b}", "All."),
        "corrects": [" (B)"],
        "incorrects": [" (A)"],
    },
    {"prompt": "\n\nHuman: x\n\nWhich?", "corrects": [" (C)"], "incorrects": [" (A)", " (B)"]},
]
COT_EXAMPLE = (
    "\n\nHuman: Consider the following conversation between a human (H) and an assistant (A):"
    "\n\nH: May I eat moss?\n\nA: No.\n\nH: Why?\n\n{}"
    "\n (A) [[[Ask.]]]\n (B) [[[All.]]]"
    "\n\nAssistant: Let's think step by step: one is better."
    "\n\nHuman:\nSo the answer is: (A)"
)
_CHAIN = (
    "\n\nHuman: Hi\n\nAssistant: No\n\nCritiqueRequest: Why?\n\nCritique: So.\n\nRevisionRequest: "
    "Do\n\nRevision: Yes\n\nHuman:"
)
_CHAT = [
    {"role": ("user", "assistant")[i % 2], "content": text}
    for i, text in enumerate(["Hi", "No", "Why?", "So.", "Do", "Yes"])
]
FOREIGN: list[Any] = [
    {"harmful0": {"prompt": ["\n\nCritiqueRequest: Why?\n\nCritique:"],
                  "edit_request": "\n\nRevisionRequest: Do.\n\nRevision:"}},
    ["\nWhich is better? Options:", "\nWhich is kinder? Options:"],
    {"constitutions": [{"critic": "Why?", "revision": "Do."}], "system_chat": [_CHAT]},
    [{"critic": "Why?", "revision": "Do."}],
    {"samples": [_CHAT]},
    [_CHAIN, _CHAIN.removesuffix("\n\nHuman:")],
    [{"prompt": f"{_ASKED}\n\nAssistant:", "corrects": ["Ask."], "incorrects": ["All."]}],
    [{"prompt": COT_EXAMPLE}],
]  # fmt: skip
CONSTITUTION: dict[str, Any] = {
    "name": "small",
    "description": "two lines\nof text",
    "principles": [
        {"id": "kind", "text": "Be kind.", "source": "own", "tags": ["a"], "weight": 2},
        {"id": "c", "text": "Be mild.", "uses": ["critique"], "critique_request": "Why?",
         "revision_request": "Do."},
        {"id": "d", "text": "Be true.", "uses": ["comparison"], "comparison_question": "Which?"},
    ],
    "few_shots": {
        "critique_revision": [
            [{"human": "Hi"}, {"assistant": "No"}, {"critique_request": "Why?"},
             {"critique": "So."}, {"revision_request": "Do"}, {"revision": "Yes"}],
        ],
        "comparison": [{"conversation": [{"human": "Hi"}], "better": "Yes", "worse": "No"}],
        "cot": [{"conversation": [{"human": "Hi"}], "response_a": "Yes", "response_b": "No",
                 "reasoning": "One.", "answer": "A", "verbatim": "x {} y"}],
        "unterminated": [0],
    },
}  # fmt: skip
JUDGE_PROMPT = "Judge.\n\n```CONSTITUTION\n  1. Be kind.\n\n  2. Be true.\n```\nSay so.\n"


def recipes() -> list[dict[str, Any]]:
    """The shipped recipes and the demo's, as plain data."""
    files = [*sorted((ROOT / "recipes").glob("*.yaml")), data_file("recipe.yaml")]
    return [yaml.safe_load(Path(file).read_text()) for file in files]


def constitution_files() -> list[bytes]:
    """Constitutions in each format that is read."""
    foreign = [json.dumps(data, indent=1).encode() for data in FOREIGN]
    default = dump_constitution(default_constitution())
    assert parse_yaml(default).data
    native = [default[:3000], yaml.safe_dump(CONSTITUTION), json.dumps(CONSTITUTION), JUDGE_PROMPT]
    return [*foreign, *(text.encode() for text in native), b"# mine\n- Be kind.\n- Be true.\n"]
