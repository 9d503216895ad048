"""What a comparison is to train and to measure, seen to be possible before anything is trained."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from arlab.cli.arguments import parse
from arlab.cli.compare_length import length_words, own_steps
from arlab.cli.compare_words import Asked, read_argument
from arlab.cli.experiment import Experiment, from_request
from arlab.cli.prepared import Prepared
from arlab.compare.budget import Budget
from arlab.compare.cost import training_flops
from arlab.compare.measurement import Measurement
from arlab.compare.subject import open_subject
from arlab.data.facts import DataFacts
from arlab.data.loaders import LoadedData
from arlab.features.classifier import shipped
from arlab.generators.generator import Generator
from arlab.module import Module
from arlab.runs.folder import RunFolder
from arlab.tokenizers.identity import identity_of_data


@dataclass(frozen=True)
class PlannedMember:
    """A run of a row.

    Attributes:
        seed: it is trained with; None of a run that was named.
        run: its folder; None of a checkpoint or an export that lies in none.
        named: the checkpoint or export to measure, of a run that was named; of others it is the best of their folder.
        words: what ``arlab`` is called with to train it; none of a run that was named.
    """

    seed: int | None
    run: RunFolder | None
    named: Path | None
    words: tuple[str, ...]

    @property
    def trained(self) -> bool:
        """Whether there is nothing left to train."""
        return self.named is not None or (self.run is not None and self.run.finished)

    @property
    def checkpoint(self) -> Path:
        """What is measured.

        Raises:
            ValueError: it is not trained yet.
        """
        found = self.named if self.run is None or self.named is not None else self.run.evaluated
        if found is None:
            raise ValueError(f"{self.run and self.run.path}: no checkpoint yet")
        return found


@dataclass(frozen=True)
class PlannedRow:
    """A line of the comparison.

    Attributes:
        name: unique.
        argument: what was given on the command line.
        members: one per seed, or the run that was named.
        tokenizer: the run its tokenizer comes from, where an experiment makes it; all members share it.
        tokenizer_name: how that experiment is called, or where else the tokenizer comes from.
        steps: how long its generators are trained; None where that is not known.
        facts: of its data.
        images: a digest of what its images are.
    """

    name: str
    argument: str
    members: tuple[PlannedMember, ...]
    tokenizer: RunFolder | None
    tokenizer_name: str
    steps: int | None
    facts: DataFacts
    images: str


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    Attributes:
        arguments: experiments and runs.
        shared: files laid over every experiment.
        plugins: Python files that are needed, too.
        seeds: how often each experiment is trained.
        budget: how long; None leaves each as long as it is.
        measurement: how all are measured.
    """

    arguments: tuple[str, ...]
    shared: tuple[str, ...]
    plugins: tuple[str, ...]
    seeds: int
    budget: Budget | None
    measurement: Measurement


def make_plan(wish: Wish) -> tuple[PlannedRow, ...]:
    """What all arguments mean.

    Raises:
        ValueError: telling all that is wrong with any of them. Something is not there, makes no generator, cannot be
            built or measured, is a row already, or has other data than the first.
    """
    rows: list[PlannedRow] = []
    wrong: list[str] = []
    for argument in wish.arguments:
        try:
            asked = read_argument(argument, wish.shared, wish.plugins)
            rows.append(_experiment_row(asked, wish) if asked.configs else _run_row(argument, wish.measurement))
        except (ValueError, OSError, MisconfigurationException) as error:
            wrong.append(_told(argument, error))
    wrong += [*_doubled(rows), *_of_other_data(rows)]
    if not wrong:
        wrong += _without_effect(rows, wish)
    if wrong:
        raise ValueError("; ".join(wrong))
    return tuple(_told_apart(rows))


# ---- rows


def _run_row(argument: str, measurement: Measurement) -> PlannedRow:
    """A run that was trained before."""
    subject = open_subject(argument)
    model = subject.model
    if not isinstance(model, Generator):
        raise ValueError(f"{argument}: is a {type(model).__name__}; compare measures generators")
    _refuse_to_measure(model, measurement)
    data = subject.images()
    folder = RunFolder(subject.path.parent.parent)
    run = folder if subject.path.parent.name == "checkpoints" and folder.config.is_file() else None
    return PlannedRow(
        name=Path(argument).as_posix(),
        argument=argument,
        members=(PlannedMember(seed=None, run=run, named=subject.path, words=()),),
        tokenizer=None,
        tokenizer_name=type(model.tokenizer.module).__name__,
        steps=run.read_summary()["steps"] if run is not None and run.finished else subject.step,
        facts=model.facts,
        images=_images(data),
    )


def _experiment_row(asked: Asked, wish: Wish) -> PlannedRow:
    """An experiment, once per seed."""
    request = parse(asked.words())
    experiment = from_request(request)
    if experiment.part != "generator":
        raise ValueError(f"{asked.argument}: makes a {experiment.part}; compare trains generators and what they need")
    if experiment.tree["trainer"].get("fast_dev_run"):
        raise ValueError("trainer.fast_dev_run: keeps nothing, so there is nothing to compare")
    made = experiment.tokenizer_experiment()
    tokenizer = None if made is None else _tokenizer_run(made)
    untrained = experiment.with_untrained_tokenizer().prepare()
    length = length_words(untrained, wish.budget, lambda: _flops_per_batch(untrained))
    every = [
        asked.words(*length, "--seed_everything", str(seed), "--model.seed", str(seed)) for seed in range(wish.seeds)
    ]
    runs = [_prepared(words, tokenizer) for words in every]
    for run in runs:
        run.refuse_changed_defaults()
    # The others differ from it in the seed only.
    built = _built(from_request(parse(every[0])).with_untrained_tokenizer().prepare())
    assert isinstance(built, Generator)
    _refuse_to_measure(built, wish.measurement)
    if not isinstance(runs[0].data, LoadedData) or runs[0].data.carries_tokens:
        raise ValueError(f"data: {type(runs[0].data).__name__} gives no images to measure with")
    return PlannedRow(
        name=f"{request.name}{asked.added}",
        argument=asked.argument,
        members=tuple(
            PlannedMember(seed=seed, run=run.folder, named=None, words=words)
            for seed, (words, run) in enumerate(zip(every, runs, strict=True))
        ),
        tokenizer=tokenizer,
        tokenizer_name=made.title if made is not None else _tokenizer_name(experiment),
        steps=own_steps(runs[0]),
        facts=runs[0].data.facts,
        images=_images(runs[0].data),
    )


def _prepared(words: Sequence[str], tokenizer: RunFolder | None) -> Prepared:
    """What ``arlab`` trains with these words."""
    request = parse(words)
    return from_request(request).prepare(tokenizer, request.tree.get("ckpt_path") or request.tree.get("start"))


def _tokenizer_run(made: Experiment) -> RunFolder:
    """The run a tokenizer comes from, seen that it can be trained."""
    try:
        run = made.prepare()
        run.refuse_changed_defaults()
        if not run.folder.finished:
            _built(run)
    except ValueError as error:
        raise ValueError(f"{made.title}: {error}") from error
    return run.folder


def _tokenizer_name(experiment: Experiment) -> str:
    named = experiment.tokenizer
    spec = experiment.tree["model"]["init_args"].get("tokenizer")
    return named if named is not None else str(spec["class_path"]).rpartition(".")[2]


def _images(data: LoadedData) -> str:
    return f"{identity_of_data(data)} {data.sample()}"


def _flops_per_batch(run: Prepared) -> float:
    model = run.cli.build_model()
    assert isinstance(model, Generator)
    return training_flops(model, next(iter(run.data.train_dataloader())))


def _built(run: Prepared) -> Module:
    """The model of a configuration; its mistakes are found by making all else that is needed to train it, too."""
    if own_steps(run) is None:
        raise ValueError("trainer.max_steps: missing; say how long to train (or trainer.max_epochs)")
    model = run.cli.build_model()
    model.configure_callbacks()
    run.data.train_dataloader()
    run.data.val_dataloader()
    with tempfile.TemporaryDirectory() as scratch:
        run.cli.build_trainer(Path(scratch), [])
    return model


def _refuse_to_measure(generator: Generator, measurement: Measurement) -> None:
    """See that a generator can be measured so, which otherwise would be told when it is trained."""
    channels = generator.facts.channels
    network = shipped(channels) if measurement.network is None else measurement.network
    network.refuse(channels)
    # A network of one's own, or one that wants larger images, may fail at the first it sees.
    network.features(torch.zeros(2, channels, *generator.facts.image_size, dtype=torch.uint8))
    measurement.sampler.check(generator)


# ---- what rows are beside each other


def _told_apart(rows: Sequence[PlannedRow]) -> list[PlannedRow]:
    """Rows of equal names under the arguments they were given as."""
    names = [row.name for row in rows]
    return [dataclasses.replace(row, name=row.argument) if names.count(row.name) > 1 else row for row in rows]


def _doubled(rows: Sequence[PlannedRow]) -> Iterator[str]:
    """Rows that would show the same run."""
    claimed: dict[Path, str] = {}
    for row in rows:
        own = [path.resolve() for member in row.members for path in _claims(member)]
        other = next((claimed[path] for path in own if path in claimed), None)
        if other is not None:
            yield f"{row.argument}: its run is in the row of {other} already"
        claimed |= dict.fromkeys(own, row.argument)


def _claims(member: PlannedMember) -> list[Path]:
    """The checkpoint that was named; all of a run that is trained here."""
    if member.named is not None or member.run is None:
        return [] if member.named is None else [member.named]
    return [member.run.path, member.run.best, member.run.last]


def _of_other_data(rows: Sequence[PlannedRow]) -> Iterator[str]:
    """Rows whose figures would mean nothing beside those of the first."""
    for row in rows[1:]:
        first = rows[0]
        differs = first.facts.contradiction(row.facts)
        if first.facts.source != row.facts.source:
            differs = f"source: {first.facts.source} against {row.facts.source}"
        if differs is not None:
            yield f"{row.argument}: is of other data than {first.argument}, and nothing of them compares; {differs}"


def _without_effect(rows: Sequence[PlannedRow], wish: Wish) -> list[str]:
    """What was asked of trainings where there are none to come."""
    asked = {"budget": wish.budget is not None, "seeds": wish.seeds > 1, "with": bool(wish.shared)}
    if any(member.named is None for row in rows for member in row.members):
        return []
    return [f"{key}: all rows are runs, which are as they are; leave it out" for key, given in asked.items() if given]


def _told(argument: str, error: Exception) -> str:
    """One line that begins with the argument."""
    said = " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror is not None:
        said = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return said if said.startswith(argument) else f"{argument}: {said}"
