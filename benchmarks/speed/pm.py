"""Preference-model training on the demo's comparisons, by ours and by TRL's RewardTrainer.

Both begin from the same weights, head included, and see the same pairs with hard labels: the peer
knows no others. Timed as finetuning is.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.speed import material, trl_trainings
from benchmarks.speed.demo import comparisons, demo, recipe
from benchmarks.speed.floor import Need, Shape, optimizer_bytes, training_flops
from benchmarks.speed.measuring import Clock, Floor, Measured, Side
from benchmarks.speed.options import Options

from constitutional.preference.model import PreferenceModel
from constitutional.preference.report import preference_report
from constitutional.preference.settings import PreferenceConfig
from constitutional.preference.train import train_preference_model
from constitutional.runs.progress import QuietProgress
from constitutional.runs.records import Comparison


def ours(options: Options) -> Side:
    """:func:`train_preference_model`."""
    begun, (train, held_out), config = _begun(options, "ours"), _comparisons(options), _config()

    def trained(given: list[Comparison], out: Path, seed: int) -> float:
        clock = Clock()
        with clock():
            train_preference_model(
                begun,
                given,
                held_out=held_out[:32],
                style="transcript",
                config=config,
                work=out,
                seed=seed,
                progress=QuietProgress(),
                device=options.device,
            )
        return clock.seconds

    trained(train[: config.batch_size], options.emptied("pm/ours"), 0)
    floor = _floor(begun, train, config)

    def round_(number: int) -> Measured:
        out = options.emptied("pm/ours")
        seconds = trained(train, out, number)
        quality = _quality(PreferenceModel.load(out / "result", device=options.device), held_out)
        return Measured(seconds, len(train), quality, floor=floor)

    return Side(round_)


def peer(options: Options) -> Side:
    """TRL's RewardTrainer."""
    begun, (train, held_out), config = _begun(options, "peer"), _comparisons(options), _config()
    first = train[: config.batch_size]
    trl_trainings.train_preference_model(
        begun, first, config, options.emptied("pm/peer"), 0, Clock()
    )

    def round_(number: int) -> Measured:
        out, clock = options.emptied("pm/peer"), Clock()
        trl_trainings.train_preference_model(begun, train, config, out, number, clock)
        return Measured(
            clock.seconds, len(train), _quality(scorer(begun, out / "result"), held_out)
        )

    return Side(round_)


def scorer(begun: Path, trained: Path) -> PreferenceModel:
    """What the peer has trained, reading texts as the model that it began from."""
    from transformers import AutoModelForSequenceClassification

    network = AutoModelForSequenceClassification.from_pretrained(trained, num_labels=1)
    return PreferenceModel.around(network.eval(), begun)


def _begun(options: Options, side: str) -> Path:
    """A preference model before its training, in a folder."""
    folder = options.folder / "pm" / f"{side}-begun"
    material.begin_preference_model(material.model_folder("pretrained", options), folder, options)
    return folder


def _config() -> PreferenceConfig:
    """The demo's, for one epoch; a checkpoint as often as TRL's trainers write one."""
    rl = recipe().rl
    assert rl is not None
    return rl.preference.model_copy(update={"epochs": 1.0, "checkpoint_steps": 500})


def _comparisons(options: Options) -> tuple[list[Comparison], list[Comparison]]:
    """What is trained on, and what the accuracy is taken of; those with a side alone."""
    shares = comparisons(demo(options))
    train, held_out = (
        [
            c.model_copy(update={"prob_a": float(c.prob_a > 0.5)})
            for c in given
            if c.prob_a not in (None, 0.5)
        ]
        for given in (shares.train, shares.held_out)
    )
    return train[: options.sized(len(train), 64)], held_out


def _quality(model: PreferenceModel, held_out: list[Comparison]) -> dict[str, float]:
    accuracy = preference_report(model, held_out).all.accuracy
    assert accuracy is not None
    return {"held_out_accuracy": accuracy.value}


def _floor(begun: Path, train: list[Comparison], config: PreferenceConfig) -> Floor:
    """Both texts of each pair whole: their common beginning is computed in both, as peers do."""
    model = PreferenceModel.load(begun, device="cpu")
    shape = Shape.of(model.network.config)
    lengths = [len(model.tokens(c.prompt, text)) for c in train for text in (c.a, c.b)]
    flops = training_flops(shape, lengths, heads=0)
    steps = -(-len(train) // config.batch_size)
    return Floor(Need(flops, optimizer_bytes(model.network.num_parameters(), steps)), shape, 1024)
