"""From what people say ("The AI should ...") to a principle in the project's form.

Collective Constitutional AI (Huang et al. 2024, arXiv 2406.07814) rewrote each statement as
"Choose the response that ..." so that it can compare. Here a template does it, and only where the
result is sure to be a sentence: a statement of one sentence of the form

    The AI should [not | never | always] [adverb] VERB ...

becomes "Choose the response that VERBs ..." ("does not VERB ...", "is ..."), without *and*, *or*
and lists after an affirmed verb, whose second verb would stay as it is. Any other statement is
compared by as it stands, as every principle without a comparison question is: "Choose the response
that better follows this principle: ...". Critique and revision requests are the project's own for
every principle.
"""

from __future__ import annotations

import re

_SHOULD = re.compile(
    r"(?:(?:the|an|any|our|this)\s+)?(?:AI|A\.I\.|assistant|chatbot|bot|model|LLM)"
    r"(?:\s+(?:model|system|assistant|chatbot|bot))?\s+(?:should|must|ought\s+to|needs?\s+to)\s+"
    r"(?:(?P<how>not|never|always)\s+)?(?P<adverb>[a-z]+ly\s+)?(?P<verb>[a-z]+)\b(?P<rest>[^.!?]*)"
    r"[.!?]?",
    re.IGNORECASE,
)
_SEVERAL = re.compile(r"\b(?:and|or|but|nor)\b|[;,]", re.IGNORECASE)
_IRREGULAR = {"be": "is", "have": "has", "do": "does", "go": "goes"}
#: Words that stand behind "should" and are no verbs to bend.
_NO_VERBS = frozenset(("not", "never", "always", "only", "also", "just", "at", "in", "if", "the"))


def comparison_question(statement: str) -> str | None:
    """The question by the template; None where the statement is not of its form."""
    match = _SHOULD.fullmatch(statement.strip())
    if match is None or match["verb"].lower() in _NO_VERBS:
        return None
    how, verb = (match["how"] or "").lower(), match["verb"].lower()
    adverb, rest = (match["adverb"] or "").lower(), match["rest"].rstrip()
    if how != "not" and _SEVERAL.search(rest):
        return None
    if verb == "be":
        said = " ".join(word for word in ("is", how, adverb.strip()) if word)
    elif how == "not":
        said = f"does not {adverb}{verb}"
    else:
        said = " ".join(word for word in (how, adverb.strip(), _third_person(verb)) if word)
    return f"Choose the response that {said}{rest}."


def _third_person(verb: str) -> str:
    if verb in _IRREGULAR:
        return _IRREGULAR[verb]
    if re.search(r"(?:s|sh|ch|x|z|o)$", verb):
        return f"{verb}es"
    if re.search(r"[^aeiou]y$", verb):
        return f"{verb[:-1]}ies"
    return f"{verb}s"
