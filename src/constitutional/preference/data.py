"""Comparisons from files and to files: hh-rlhf pairs and TRL's rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import PydanticSerializationError

from constitutional.dialogue.conversation import Conversation, Role, Turn
from constitutional.dialogue.forms import Form, LeftOut
from constitutional.dialogue.prompt_files import read_rows
from constitutional.dialogue.prompt_rows import MalformedRow
from constitutional.dialogue.quoting import MARKERS
from constitutional.dialogue.transcript import opening, parse
from constitutional.errors import InputError
from constitutional.preference.settings import Goal
from constitutional.runs.lines import escaped
from constitutional.runs.records import Comparison
from constitutional.runs.seeds import derive_seed
from constitutional.spool import Seen, Spooled

_ROLES: dict[str, Role] = {"user": "human", "assistant": "assistant"}
_NAMES = {role: name for name, role in _ROLES.items()}


Place = tuple[str | Path, int | None, str]


@dataclass
class ComparisonSet:
    """Comparisons of a file, and how many of its rows were left out, by reason."""

    comparisons: Spooled[Comparison] = field(default_factory=Spooled)
    left_out: Counter[str] = field(default_factory=Counter)
    ids: Seen = field(default_factory=Seen, compare=False, repr=False)


def read_comparisons(
    spec: str | Path, *, goal: Goal, seed: int, labeller: str = "human", form: Form | None = None
) -> ComparisonSet:
    """Rows of hh-rlhf or of TRL, told apart by the key ``prompt``, which TRL's alone have.

    ``form`` translates the rows of another data set. Raises InputError with file and line for a row
    that is no pair, and where nothing is left.
    """
    found = ComparisonSet()
    for place, row in _rows(spec, found, form):
        read = _trl_row if "prompt" in row else _hh_rlhf_row
        _add(found, read, row, place, goal, seed, labeller)
    if not found.comparisons:
        reasons = ", ".join(f"{n} ({why})" for why, n in sorted(found.left_out.items()))
        raise InputError(
            "no comparison found" + (f": left out {reasons}" if reasons else ""), path=spec
        )
    return found


def read_hh_rlhf(
    spec: str | Path, *, goal: Goal, seed: int, labeller: str = "human"
) -> ComparisonSet:
    """Rows of ``chosen`` and ``rejected`` transcripts (Bai et al. 2022a; .jsonl, .jsonl.gz, ...).

    Both must agree up to the last turn of the assistant; a pair that does not, and one whose
    answers are the same, is left out and counted. Which answer becomes a is drawn by ``seed``.
    Raises InputError with file and line for a row that is no such pair.
    """
    found = ComparisonSet()
    for place, row in _rows(spec, found):
        _add(found, _hh_rlhf_row, row, place, goal, seed, labeller)
    return found


def read_trl(spec: str | Path, *, goal: Goal, seed: int, labeller: str = "human") -> ComparisonSet:
    """Rows of ``prompt``, ``chosen`` and ``rejected``, as texts or as messages.

    ``p_chosen`` is the probability that the chosen one is better, 1 where it is missing; the row's
    own ``goal``, ``labeller`` and ``tags`` go before the arguments.
    """
    found = ComparisonSet()
    for place, row in _rows(spec, found):
        _add(found, _trl_row, row, place, goal, seed, labeller)
    return found


def write_trl(comparisons: Iterable[Comparison], path: Path) -> int:
    """Write TRL-style rows of messages with ``p_chosen``; returns how many had no label.

    The more probable answer is the chosen one. Those without a label are left out. TRL's
    RewardTrainer reads the rows as hard labels; its columns beyond the three are ours.
    """
    left_out = 0
    with path.open("w", encoding="utf-8") as file:
        for comparison in comparisons:
            if comparison.prob_a is None:
                left_out += 1
                continue
            best = comparison if comparison.prob_a >= 0.5 else comparison.swap()
            row = {
                "id": best.id,
                "prompt": [
                    {"role": _name(turn, best.id), "content": turn.text}
                    for turn in best.prompt.turns
                ],
                "chosen": [{"role": "assistant", "content": best.a}],
                "rejected": [{"role": "assistant", "content": best.b}],
                "p_chosen": best.prob_a,
                "goal": best.goal,
                "labeller": best.labeller,
                "tags": list(best.tags),
            }
            # a model may have written half a character
            file.write(escaped(json.dumps(row, ensure_ascii=False)) + "\n")
    return left_out


# Rows


def _rows(
    spec: str | Path, found: ComparisonSet, form: Form | None = None
) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Each row with its place; those that ``form`` leaves out are counted.

    Raises InputError for one that is no object.
    """
    for row in read_rows(spec, None if form is None else form.part):
        place = (spec, row.line, row.label)
        if row.problem is not None:
            raise _wrong(place, row.problem)
        try:
            value = row.value if form is None else form(row.value)
        except LeftOut as row_left_out:
            found.left_out[row_left_out.reason] += 1
            continue
        except MalformedRow as error:
            raise _wrong(place, str(error)) from None
        if not isinstance(value, Mapping):
            raise _wrong(place, "expected an object with 'chosen' and 'rejected'")
        yield place, value


def _add(
    found: ComparisonSet,
    read: Callable[[Mapping[str, Any], Place, Goal, str, int], Comparison],
    row: Mapping[str, Any],
    place: Place,
    goal: Goal,
    seed: int,
    labeller: str,
) -> None:
    try:
        comparison = read(row, place, goal, labeller, seed)
    except LeftOut as row_left_out:
        found.left_out[row_left_out.reason] += 1
        return
    if not found.ids.add(comparison.id):
        raise _wrong(
            place, f"the id {comparison.id!r} is that of another row above: give it its own"
        )
    _refuse_half_characters(comparison, place)
    found.comparisons.append(comparison)


def _refuse_half_characters(comparison: Comparison, place: Place) -> None:
    """What UTF-8 cannot carry is no text of a person, and would stop a tokenizer hours later."""
    try:
        comparison.model_dump_json()
    except PydanticSerializationError:
        raise _wrong(place, "a text holds half a character: save the file as UTF-8") from None


def _hh_rlhf_row(
    row: Mapping[str, Any], place: Place, goal: Goal, labeller: str, seed: int
) -> Comparison:
    sides = [_split(_text(row, key, place), key, place) for key in ("chosen", "rejected")]
    (prompt, chosen), (other, rejected) = sides
    if prompt != other:
        raise LeftOut("the prompts differ")
    if chosen == rejected:
        raise LeftOut("the answers are the same")
    asked = _conversation(prompt, place)
    return _pair(_id(row, place), asked, chosen, rejected, 1.0, goal, labeller, seed)


def _trl_row(
    row: Mapping[str, Any], place: Place, goal: Goal, labeller: str, seed: int
) -> Comparison:
    prompt, *answers = (_side(row, key, place) for key in ("prompt", "chosen", "rejected"))
    chosen, rejected = (_answer(answer, place) for answer in answers)
    probability = _probability(row, place)
    if chosen == rejected:
        raise LeftOut("the answers are the same")
    pair = _pair(
        _id(row, place),
        _as_prompt(prompt, place),
        chosen,
        rejected,
        probability,
        _goal(row, goal, place),
        str(row.get("labeller", labeller)),
        seed,
    )
    tags = row.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise _wrong(place, f"'tags' must be a list of texts, found {tags!r}")
    return pair.model_copy(update={"tags": tuple(tags)})


def _wrong(place: Place, message: str) -> InputError:
    spec, line, label = place
    return InputError(f"{label}: {message}" if label else message, path=spec, line=line)


def _pair(
    id_: str,
    prompt: Conversation,
    chosen: str,
    rejected: str,
    probability: float,
    goal: Goal,
    labeller: str,
    seed: int,
) -> Comparison:
    """The comparison, with a and b in an order drawn for this id."""
    pair = Comparison(
        id=id_,
        prompt=prompt,
        a=chosen,
        b=rejected,
        goal=goal,
        labeller=labeller,
        prob_a=probability,
    )
    return pair.swap() if derive_seed(seed, "order", id_) % 2 else pair


def _id(row: Mapping[str, Any], place: Place) -> str:
    if row.get("id") is not None:
        return str(row["id"])
    spec, line, label = place
    return f"{Path(spec).name.partition('.')[0]}:{label if line is None else line}"


def _text(row: Mapping[str, Any], key: str, place: Place) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        found = f"found {value!r:.40}" if key in row else f"found {', '.join(map(repr, row))}"
        raise _wrong(place, f"expected the text {key!r}, {found}")
    return value


def _split(text: str, key: str, place: Place) -> tuple[str, str]:
    """The transcript before the last turn of the assistant, and that turn."""
    before, marker, answer = text.rpartition(opening("assistant"))
    if not marker:
        raise _wrong(place, f"{key!r} has no turn of the assistant")
    return before, answer.removeprefix(" ")


def _conversation(text: str, place: Place) -> Conversation:
    """The prompt of a transcript.

    A marker of the role that speaks already opens no turn: it is part of the text, as in prompt
    sets, which rendering quotes; so turns alternate, as in a chat they must.
    """
    try:
        turns: list[Turn] = []
        for turn in parse(text).turns:
            if turns and turns[-1].role == turn.role:
                joined = f"{turns[-1].text}{opening(turn.role)} {turn.text}"
                turns[-1] = Turn(role=turn.role, text=joined)
            else:
                turns.append(turn)
    except ValueError as error:
        raise _wrong(place, str(error)) from error
    if not turns or turns[-1].role != "human":
        raise _wrong(place, "the turn before the answer must be a human's")
    return Conversation(turns=tuple(turns))


def _side(row: Mapping[str, Any], key: str, place: Place) -> str | list[Turn]:
    """A text, or messages as turns."""
    value = row.get(key)
    if not isinstance(value, list):
        return _text(row, key, place)
    turns = []
    for message in value:
        role = message.get("role") if isinstance(message, Mapping) else None
        content = message.get("content") if isinstance(message, Mapping) else None
        if not isinstance(role, str) or role not in _ROLES or not isinstance(content, str):
            raise _wrong(
                place,
                f"each message of {key!r} needs the role 'user' or 'assistant' and a 'content', "
                f"found {message!r:.60}",
            )
        turns.append(Turn(role=_ROLES[role], text=content))
    return turns


def _as_prompt(prompt: str | list[Turn], place: Place) -> Conversation:
    if isinstance(prompt, str):
        text = prompt.removesuffix(" ").removesuffix(opening("assistant"))
        if text.startswith((opening("human"), f"{MARKERS['human']}:")):
            return _conversation(text, place)
        return Conversation.of(prompt)
    if not prompt or prompt[-1].role != "human":
        raise _wrong(place, "'prompt' must end in a message of the user")
    return Conversation(turns=tuple(prompt))


def _answer(answer: str | list[Turn], place: Place) -> str:
    if isinstance(answer, str):
        return answer.removeprefix(" ")
    if len(answer) != 1 or answer[0].role != "assistant":
        raise _wrong(place, "'chosen' and 'rejected' must be one message of the assistant each")
    return answer[0].text


def _probability(row: Mapping[str, Any], place: Place) -> float:
    value = row.get("p_chosen", 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _wrong(place, f"'p_chosen' must be a number between 0 and 1, found {value!r}")
    return float(value)


def _goal(row: Mapping[str, Any], goal: Goal, place: Place) -> Goal:
    value = row.get("goal", goal)
    if value not in ("harmlessness", "helpfulness"):
        raise _wrong(place, f"'goal' must be harmlessness or helpfulness, found {value!r}")
    return value  # type: ignore[no-any-return]


def _name(turn: Turn, id_: str) -> str:
    if turn.role not in _NAMES:
        raise InputError(f"comparison {id_} has a turn of {turn.role!r}, which TRL's rows lack")
    return _NAMES[turn.role]
