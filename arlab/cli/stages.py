"""The stages of a run: the tokenizer a generator asks for, where it has not been trained yet, then the generator."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from rich.console import Console

from arlab.callbacks.codebook_health import CodebookHealth
from arlab.callbacks.finite import FiniteLoss
from arlab.callbacks.interruption import Interruption
from arlab.callbacks.own_settings import OwnSettings
from arlab.callbacks.progress import StageProgress
from arlab.callbacks.rng_state import RngState
from arlab.callbacks.run_checkpoints import RunCheckpoints
from arlab.cli.arguments import Request
from arlab.cli.experiment import Experiment, from_request
from arlab.cli.lightning_cli import ArlabCLI
from arlab.cli.precision import describe
from arlab.cli.prepared import Prepared
from arlab.cli.start import Start
from arlab.cli.summary import say, show_figures, show_run, summarise
from arlab.module import Module
from arlab.runs.checkpoint import rebuild, refuse_unfit
from arlab.runs.files import write_text
from arlab.runs.folder import RunFolder
from arlab.runs.resolve import read
from arlab.tokenizers.learned import LearnedTokenizer


def fit(request: Request) -> int:
    """Train what has not been trained yet, in order, and show the figures of all stages."""
    console = _console()
    for line in request.dropped:
        say(console, line)
    last = from_request(request)
    named = request.tree.get("ckpt_path") or request.tree.get("start")
    if last.tree["trainer"].get("fast_dev_run"):
        if named is not None:
            say(console, "ckpt_path: not used, a trial run starts from nothing")
        return _try_out(last, console)
    experiments = _stages(last)
    if last.tree.get("tokenizer") and len(experiments) == 1:
        say(console, "tokenizer: its options are not used, since this model's tokenizer comes from no experiment")
    done: list[tuple[RunFolder, dict[str, object]]] = []
    for number, experiment in enumerate(experiments, start=1):
        with _told_of(experiment, last):
            run = experiment.prepare(done[-1][0] if done else None, named if experiment is last else None)
            run.refuse_changed_defaults()
        if run.folder.finished:
            verb = "finished already" if experiment is last else "reusing"
            say(console, f"{experiment.part}: {verb}: {run.folder.path}")
        else:
            if experiment is not last:
                with _told_of(experiment, last):
                    run.cli.build_model()
                _refuse_early(last)
            count = f"stage {number} of {len(experiments)}: " if len(experiments) > 1 else ""
            with _told_of(experiment, last):
                train(run, f"{count}{experiment.part} {experiment.title}", console)
        # Of several processes only the first writes the summary, and only it needs it.
        done.append((run.folder, {} if console.quiet else run.folder.read_summary()))
    if not console.quiet:
        show_run(console, done)
    return 0


def train(run: Prepared, stage: str, console: Console) -> None:
    """Train an experiment into its folder, going on where it was interrupted.

    Raises:
        ValueError: it does not say how long, there is nothing to train, or nothing was trained.
    """
    _refuse_endless(run)
    checkpoints = RunCheckpoints(run.folder, best=run.best)
    model = run.cli.build_model()
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"model: {type(model).__name__} has nothing to train; name it in a generator as it is")
    model.refuse_data(run.data)
    # Images in memory are read now, before anything is written: they may be damaged, or too few.
    run.data.train_dataloader()
    run.data.val_dataloader()
    changes = _changes(run, run.start(), model)
    trainer = run.cli.build_trainer(run.folder.path, _callbacks(run, model, checkpoints, stage, console))
    # Of several processes only the first writes.
    with run.folder.locked() if trainer.is_global_zero else contextlib.nullcontext():
        if trainer.is_global_zero and run.folder.finished:
            # Another process has come to its end since this one began to look.
            return
        start = run.start()
        if trainer.is_global_zero:
            run.folder.sweep()
            if not run.folder.config.is_file():
                for name, text in run.record(start).items():
                    write_text(run.folder.path / name, text)
        say(console, f"{stage} · {run.folder.path} · {describe(trainer, run.cli.config.trainer.precision)}")
        if start.checkpoint is not None:
            say(console, f"going on from {start.checkpoint}")
            for line in changes:
                say(console, f"  unlike it, {line}")
        trainer.fit(model, datamodule=run.data, ckpt_path=start.checkpoint, weights_only=True)
        if trainer.is_global_zero:
            if run.folder.evaluated is None:
                raise ValueError(f"{run.folder.path}: not a single step was trained (trainer.limit_train_batches?)")
            run.folder.write_summary(summarise(run.part, run.title, run.folder, trainer, checkpoints))


def _callbacks(
    run: Prepared, model: Module, checkpoints: RunCheckpoints, stage: str, console: Console
) -> list[Callback]:
    trainer = run.cli.config.trainer
    callbacks: list[Callback] = [RngState(), OwnSettings(), FiniteLoss(), Interruption(checkpoints), checkpoints]
    configured = [str(entry["class_path"]) for entry in run.cli.plain()["trainer"]["callbacks"] or ()]
    if isinstance(model, LearnedTokenizer) and not any(path.endswith(".CodebookHealth") for path in configured):
        callbacks.append(CodebookHealth())
    if trainer.enable_progress_bar is not False:
        callbacks.append(StageProgress(stage, console))
    if trainer.logger is not False:
        callbacks.append(LearningRateMonitor(logging_interval="step"))
    return callbacks


def _changes(run: Prepared, start: Start, model: Module) -> list[str]:
    """In what a run differs from the one it starts from, seen that it can.

    Raises:
        ValueError: the checkpoint's weights do not fit, or it is trained as long as the run is to be.
    """
    if start.checkpoint is None:
        return []
    try:
        held = read(start.checkpoint)
    except ValueError as error:
        raise ValueError(f"ckpt_path: {error}") from error
    changes = [] if start.source is None else run.changes(start.source, held, model)
    try:
        refuse_unfit(held, model)
    except ValueError as error:
        why = f" ({'; '.join(changes)})" if changes else ""
        raise ValueError(f"ckpt_path: {start.checkpoint}: {error}{why}") from error
    steps = run.cli.config.trainer.max_steps
    if start.source is not None and 0 < steps <= held["global_step"]:
        raise ValueError(f"ckpt_path: {start.source} is at step {held['global_step']} already; max_steps is {steps}")
    return changes


def evaluate(request: Request) -> int:
    """Validate or test a run: its best checkpoint, or the one that is named."""
    console = _console()
    experiment = from_request(request)
    path = _evaluated(experiment, request)
    model = rebuild(read(path), Module)
    tree = {**experiment.tree, "trainer": {**experiment.tree["trainer"], "logger": False, "callbacks": []}}
    tree["trainer"] |= {"enable_checkpointing": False, "enable_progress_bar": False}
    # Likelihoods are exact in float32 only.
    tree["trainer"]["precision"] = tree["trainer"].get("precision") or "32-true"
    # The model comes from the checkpoint; the configuration gives the data and where to compute.
    run = dataclasses.replace(experiment, tree=tree).assembled(None, None)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = run.cli.build_trainer(Path(scratch), [])
        say(console, f"{request.command}: {path} · {describe(trainer, run.cli.config.trainer.precision)}")
        act = trainer.validate if request.command == "validate" else trainer.test
        act(model, datamodule=run.data, verbose=False)
    show_figures(console, {name: float(value) for name, value in trainer.callback_metrics.items()})
    return 0


def print_config(request: Request) -> int:
    """The whole configuration, defaults included."""
    print(from_request(request).assembled(None, None).cli.text, end="")
    return 0


def print_all_help() -> int:
    """jsonargparse's own help: every option of the Trainer. It ends the process."""
    ArlabCLI(["--help"])
    return 0


def _try_out(experiment: Experiment, console: Console) -> int:
    """A trial run: a few batches, on a tokenizer as it comes where its experiment is named. Nothing is kept."""
    run = experiment.with_untrained_tokenizer().prepare()
    made = experiment.tokenizer_experiment()
    if made is not None and run.data.carries_tokens:
        # They are those of a trained tokenizer.
        run = experiment.prepare(made.prepare().folder)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = run.cli.build_trainer(Path(scratch), [])
        trainer.fit(run.cli.build_model(), datamodule=run.data)
    say(console, f"{experiment.part} {experiment.title} · a trial run, nothing was kept")
    return 0


def _refuse_early(generator: Experiment) -> None:
    """Find the mistakes in a generator before its tokenizer is trained, which may take hours."""
    run = generator.with_untrained_tokenizer().prepare()
    _refuse_endless(run)
    run.cli.build_model().configure_callbacks()
    with tempfile.TemporaryDirectory() as scratch:
        run.cli.build_trainer(Path(scratch), [])


@contextlib.contextmanager
def _told_of(experiment: Experiment, last: Experiment) -> Iterator[None]:
    """What goes wrong in the experiment of a tokenizer is told as such, for it has settings of its own."""
    try:
        yield
    except ValueError as error:
        if experiment is last:
            raise
        raise ValueError(f"{experiment.title} (--tokenizer.KEY VALUE adjusts it): {error}") from error


def _refuse_endless(run: Prepared) -> None:
    trainer = run.cli.config.trainer
    if trainer.max_steps < 1 and (trainer.max_epochs is None or trainer.max_epochs < 1):
        raise ValueError("trainer.max_steps: missing; say how long to train (or trainer.max_epochs)")


def _stages(experiment: Experiment) -> list[Experiment]:
    made = experiment.tokenizer_experiment()
    return [experiment] if made is None else [made, experiment]


def _evaluated(experiment: Experiment, request: Request) -> Path:
    """The checkpoint to evaluate."""
    named = request.tree.get("ckpt_path")
    if named not in (None, "best", "last"):
        return Path(named)
    tokenizer: RunFolder | None = None
    found: Path | None = None
    for stage in _stages(experiment):
        folder = stage.prepare(tokenizer, request.tree.get("start") if stage is experiment else None).folder
        found = folder.last if named == "last" and folder.last.is_file() else folder.evaluated
        if found is None:
            raise ValueError(f"{folder.path}: not trained yet; run `arlab fit --config {stage.title}` first")
        tokenizer = folder
    assert found is not None
    return found


def _console() -> Console:
    """Only the first of several processes speaks."""
    return Console(quiet=os.environ.get("LOCAL_RANK", "0") != "0")
