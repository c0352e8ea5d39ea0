from __future__ import annotations

import pytest

from constitutional.dialogue.shape import LOOP_TIMES, flags

WHOLE = {
    "plain": "I can not help with that, because it could hurt someone.",
    "one word": "No",
    "a number": "42",
    "another script": "不可以",
    "quoted in a line": "It seems that the human: a curious person, asks for advice.",
    "marker without colon": "Human rights matter.\nAssistant professors teach.\nCritique it.",
    "marker within a word": "Superhuman: yes or no?",
    "lower case": "human: this is how a list of roles could begin",
    "vitamins": "Vitamin A: good for the eyes. Vitamin H: good for the hair.",
    "short words repeated": "1. no\n2. no\n3. no\n4. no\n5. no\n6. no",
    "a refrain three times": "row the boat home. " * 3,
    "list with one frame": "\n".join(f"You can try {what}." for what in ("tea", "rest", "a walk")),
    "comparison": "If a < b and b > c then a <| c.",
    "markup": "Use <b>bold</b> and [links](x).",
}
BROKEN = {
    "nothing": ("", "empty"),
    "white space": (" \n\t", "empty"),
    "no letter": ("... -- !?", "empty"),
    "loop": ("it is what it is " * 4, "looped"),
    "loop in the middle": ("Well, " + "we do not know " * 4 + "and so on.", "looped"),
    "first line": ("Human: what?", "role_marker"),
    "after a line": ("Sure.\nHuman: what?", "role_marker"),
    "indented": ("Sure.\n  Assistant: what?", "role_marker"),
    "critique request": ("Sure.\nCritiqueRequest: find faults", "role_marker"),
    "as the paper prints it": ("Sure.\nCritique Request: find faults", "role_marker"),
    "revision": ("Revision: better", "role_marker"),
    "short form": ("Sure.\nH: what?\nA: that.", "role_marker"),
    "end token": ("Sure.<|endoftext|>", "role_marker"),
    "chat token": ("Sure.<|im_end|>\n", "role_marker"),
    "gemma": ("Sure.<end_of_turn>", "role_marker"),
    "llama": ("[INST] what? [/INST]", "role_marker"),
}


@pytest.mark.parametrize("case", WHOLE)
def test_whole(case: str) -> None:
    assert flags(WHOLE[case], "eos") == flags(WHOLE[case], "stop") == ()


@pytest.mark.parametrize("case", BROKEN)
def test_broken(case: str) -> None:
    text, flag = BROKEN[case]
    assert flags(text, "eos") == (flag,)


def test_the_token_limit_cuts_off() -> None:
    assert flags("I would", "length") == ("cut_off",)


def test_a_text_may_have_several_faults() -> None:
    text = "Human: so it goes on\n" * LOOP_TIMES
    assert flags(text, "length") == ("looped", "role_marker", "cut_off")
