"""Data sets that people use, by name: where they are, and how their rows become rows of ours.

Columns are those of the data sets' cards and files, and none is guessed; ``docs/data.md`` says
where each was looked up, under which license its card puts it, and what is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from constitutional.dialogue import preset_rows as rows
from constitutional.dialogue.forms import Form, Translate
from constitutional.errors import InputError

Kind = Literal["red_team", "helpful"]
Goal = Literal["harmlessness", "helpfulness"]


@dataclass(frozen=True)
class Preset:
    """A data set. ``hub``: its name on the Hugging Face hub, ``name:split``, None where its authors
    publish it elsewhere; ``file`` then says which file to fetch.

    ``prompts`` are the translations by the kind of prompt, ``pairs`` those by the goal that is
    compared by; ``parts`` are the folders on the hub by the same words.
    """

    name: str
    license: str
    hub: str | None = None
    file: str = ""
    prompts: Mapping[Kind, Translate] = field(default_factory=dict)
    pairs: Mapping[Goal, Translate] = field(default_factory=dict)
    demonstrations: Translate | None = None
    parts: Mapping[str, str] = field(default_factory=dict)

    def prompts_of(self, kind: Kind) -> Form:
        """How prompts of ``kind`` are read. Raises InputError where there are none."""
        return self._form(self.prompts, kind, f"{kind} prompts")

    def pairs_by(self, goal: Goal) -> Form:
        """How comparisons by ``goal`` are read. Raises InputError where there are none."""
        return self._form(self.pairs, goal, f"comparisons by {goal}")

    def demonstrated(self) -> Form:
        """How demonstrations are read. Raises InputError where there are none."""
        if self.demonstrations is None:
            raise self._lacks("demonstrations")
        return Form(self.name, self.demonstrations)

    @property
    def source(self) -> str:
        """The name on the hub. Raises InputError where the data set is not there."""
        if self.hub is None:
            raise InputError(
                f"the preset {self.name!r} has no data set of its authors on the hub: fetch "
                f"{self.file} and name it as 'file'"
            )
        return self.hub

    def _form(self, known: Mapping[Any, Translate], use: str, what: str) -> Form:
        if use not in known:
            raise self._lacks(what)
        return Form(self.name, known[use], self.parts.get(use))

    def _lacks(self, what: str) -> InputError:
        has = [f"{kind} prompts" for kind in self.prompts]
        has += [f"comparisons by {goal}" for goal in self.pairs]
        has += ["demonstrations"] if self.demonstrations else []
        return InputError(
            f"the preset {self.name!r} has no {what}: take another, this one has {', '.join(has)}"
        )


_ALL = (
    Preset(
        "hh-rlhf",
        license="mit",
        hub="Anthropic/hh-rlhf",
        prompts={"red_team": rows.as_it_is, "helpful": rows.as_it_is},
        pairs={"harmlessness": rows.as_it_is, "helpfulness": rows.as_it_is},
        parts={
            "red_team": "red-team-attempts",
            "helpful": "helpful-base",
            "harmlessness": "harmless-base",
            "helpfulness": "helpful-base",
        },
    ),
    Preset(
        "beavertails",
        license="cc-by-nc-4.0",
        hub="PKU-Alignment/BeaverTails:330k_train",
        prompts={"red_team": rows.beavertails_prompt},
    ),
    Preset(
        "pku-saferlhf",
        license="cc-by-nc-4.0",
        hub="PKU-Alignment/PKU-SafeRLHF",
        prompts={"red_team": rows.saferlhf_prompt},
        pairs={
            "harmlessness": rows.saferlhf_safer,
            "helpfulness": rows.saferlhf_better,
        },
    ),
    Preset(
        "harmbench",
        license="mit",
        file="data/behavior_datasets/harmbench_behaviors_text_all.csv of "
        "github.com/centerforaisafety/HarmBench",
        prompts={"red_team": rows.harmbench_prompt},
    ),
    Preset(
        "advbench",
        license="mit",
        file="data/advbench/harmful_behaviors.csv of github.com/llm-attacks/llm-attacks",
        prompts={"red_team": rows.advbench_prompt},
    ),
    Preset(
        "xstest",
        license="cc-by-4.0",
        hub="Paul/XSTest",
        prompts={"red_team": rows.xstest_unsafe, "helpful": rows.xstest_safe},
    ),
    Preset(
        "do-not-answer",
        license="apache-2.0 (the card's text: data cc-by-nc-sa-4.0)",
        hub="LibrAI/do-not-answer",
        prompts={"red_team": rows.do_not_answer_prompt},
    ),
    Preset(
        "ultrafeedback",
        license="mit",
        hub="HuggingFaceH4/ultrafeedback_binarized:train_prefs",
        prompts={"helpful": rows.ultrafeedback_prompt},
        pairs={"helpfulness": rows.ultrafeedback_pair},
    ),
    Preset(
        "dolly",
        license="cc-by-sa-3.0",
        hub="databricks/databricks-dolly-15k",
        prompts={"helpful": rows.dolly_prompt},
        demonstrations=rows.dolly_demonstration,
    ),
    Preset(
        "alpaca",
        license="cc-by-nc-4.0",
        hub="tatsu-lab/alpaca",
        prompts={"helpful": rows.alpaca_prompt},
        demonstrations=rows.alpaca_demonstration,
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}
