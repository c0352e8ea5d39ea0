"""Control tokens in what people and models wrote: shown to a model as text, never obeyed.

A chat template writes control tokens between the turns (``<|im_end|>``), and a tokenizer takes the
same characters inside a turn for the same tokens: a response could end its own turn. So whoever
renders a turn puts :data:`GUARD` inside each such text (:func:`guarded`), and whoever makes tokens
cuts there and drops it (:func:`pieces`). No piece holds a control token, so none is made; the
model reads the characters as they were written. A text without such a token is not touched.

Where a text leaves for a program that makes the tokens itself, that cannot be held. There a
backslash stays in the guard's place, which all can see (:func:`visible`, :func:`broken`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from constitutional.dialogue.quoting import seen_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: Unicode keeps this character free for uses such as this one: no text that is exchanged has it.
GUARD = "\ufdd0"
_BREAK = "\\"

#: What a template may write that is to be told from words: <|user|>, [INST], <<SYS>>, </s>.
_TAG = re.compile(r"<[|｜][^<>{}\s]+[|｜]>|<{1,2}/?[A-Za-z_]+>{1,2}|\[/?[A-Z_]{2,}\]")
#: The control tokens of known families, for texts whose tokenizer is not here.
_FAMILIES = (
    r"<[|｜][^|｜<>\s]{1,40}[|｜]>|</?(?:s|bos|eos|pad|unk|think|tool_call|tool_response)>"
    r"|</?(?:start|end)_of_(?:turn|image)>|<{1,2}/?SYS>{1,2}"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|THINK|IMG)\]"
)


_Patterns = tuple[re.Pattern[str] | None, re.Pattern[str] | None]
_KNOWN: WeakKeyDictionary[PreTrainedTokenizerBase, tuple[tuple[str, ...], _Patterns]] = (
    WeakKeyDictionary()
)


def guarded(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text with a guard inside each control token that is spelt out in it.

    Control are the tokenizer's special tokens and its other added tokens that the chat template
    writes.
    """
    tokens, _ = _control(tokenizer)
    return _cut(text, tokens, GUARD)


def guarded_turn(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The same for a turn that the chat template is to frame.

    What the template writes may be no token (``[INST]`` of some): such tags get a visible
    backslash, since a model reads their characters in whatever pieces they come.
    """
    _, tags = _control(tokenizer)
    return guarded(tokenizer, _cut(text, tags, _BREAK))


def pieces(text: str) -> list[str]:
    """The text cut at its guards."""
    return text.split(GUARD)


def visible(text: str) -> str:
    """A guarded text for a program that makes the tokens itself."""
    return text.replace(GUARD, _BREAK)


def broken(text: str) -> str:
    """A text for a program whose tokenizer is not known: known control tokens are broken up."""
    return _cut(text, _anywhere(_FAMILIES), _BREAK)


def _cut(text: str, pattern: re.Pattern[str] | None, mark: str) -> str:
    """``mark`` behind the first character of each match in what is seen of the text.

    What is seen: a tokenizer may normalise a text before it looks for its tokens.
    """
    if pattern is None:
        return text
    seen, origin = seen_of(text)
    places = set()
    for match in pattern.finditer(seen):
        inside = origin[match.start(1) : match.end(1)]
        places |= {next((at for at in inside if at > inside[0]), len(text))}
    if not places:
        return text
    return "".join(mark + char if at in places else char for at, char in enumerate(text))


def _control(tokenizer: PreTrainedTokenizerBase) -> _Patterns:
    """The patterns of control tokens and of tags.

    To list thousands of added tokens takes longer than to encode a text: a tokenizer is asked once,
    and again where its template or one of its named tokens is another.
    """
    template = str(getattr(tokenizer, "chat_template", None) or "")
    named = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token)
    state = (template, *map(str, named))
    known = _KNOWN.get(tokenizer)
    if known is None or known[0] != state:
        known = _KNOWN[tokenizer] = (state, _patterns(tokenizer, template))
    return known[1]


def _patterns(tokenizer: PreTrainedTokenizerBase, template: str) -> _Patterns:
    special = set(tokenizer.all_special_tokens)
    added = {token.content: token.special for token in tokenizer.added_tokens_decoder.values()}
    tokens = {
        content for content in added if added[content] or content in special or content in template
    }
    return _any_of(tokens), _any_of({tag for tag in _TAG.findall(template) if tag not in added})


def _any_of(texts: Iterable[str]) -> re.Pattern[str] | None:
    """A single character cannot be cut, and is no imitation: it is what it is."""
    longer = sorted({seen_of(text)[0] for text in texts if len(text.strip()) > 1})
    return _anywhere("|".join(map(re.escape, longer))) if longer else None


@lru_cache
def _anywhere(pattern: str) -> re.Pattern[str]:
    """Matches of group 1 that overlap are found too: behind the cut, the second would be whole."""
    return re.compile(f"(?=({pattern}))", re.IGNORECASE)
