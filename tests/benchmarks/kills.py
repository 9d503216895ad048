"""Kill a training run with SIGKILL at random moments; see that its checkpoint always loads and its end is the same.

    python -m tests.benchmarks.kills --kills 25 --folder FOLDER

The run spends most of its time writing checkpoints (over 100 MB, every other step), so that many kills hit a write.
After each kill ``last.ckpt`` is loaded, and the same command goes on. When all kills are done the run is let to its end
and compared, bit by bit, with one that was never disturbed. FOLDER may lie on another filesystem than the system's
folder for temporary files, where replacing a file is not atomic unless its draft lies beside it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from arlab.cli.training import main as train
from arlab.discovery import discover
from arlab.runs import checkpoint
from arlab.runs.files import LEFTOVERS

_WAIT_SECONDS = 120.0


def command(root: Path, steps: int) -> list[str]:
    """An experiment whose checkpoints take longer than its steps."""
    return [
        "fit", "--experiment", "kills", "--run_root", str(root),
        "--model", "Generator", "--model.tokenizer", "PixelTokenizer", "--model.ordering", "Raster",
        "--model.backbone", "Transformer", "--model.backbone.width", "384", "--model.backbone.num_layers", "6",
        "--model.backbone.attention.num_heads", "4", "--model.backbone.dropout", "0.1", "--model.head", "DiscreteHead",
        "--data", "Digits", "--data.batch_size", "4", "--trainer.max_steps", str(steps), "--trainer.accelerator", "cpu",
        "--trainer.val_check_interval", "2", "--trainer.check_val_every_n_epoch", "null",
        "--trainer.limit_val_batches", "1", "--trainer.logger", "false", "--trainer.enable_progress_bar", "false",
    ]  # fmt: skip


def _child(words: list[str]) -> None:
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os._exit(train(words))


def main() -> None:
    """Run the experiment undisturbed, then with kills; print the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--folder", type=Path, default=None, help="where runs lie (a temporary folder)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    discover()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        _run(Path(folder), options.kills, random.Random(options.seed))


def _run(folder: Path, kills: int, rng: random.Random) -> None:
    same = os.stat(folder).st_dev == os.stat(tempfile.gettempdir()).st_dev
    print(f"runs in {folder}, on {'the' if same else 'another'} filesystem {'of' if same else 'than'} temporary files")
    killed, straight, steps = folder / "killed", folder / "straight", 4 * kills + 40
    writing = readable = step = 0
    for kill in range(1, kills + 1):
        _kill(killed, steps, rng)
        writing += bool(list(killed.glob(LEFTOVERS)))
        try:
            held = checkpoint.read(next(killed.glob("**/last.ckpt")))
        except (ValueError, StopIteration) as error:
            print(f"kill {kill}: {error}")
            continue
        assert held["global_step"] >= step, "a checkpoint went back"
        readable, step = readable + 1, held["global_step"]
    print(
        f"{kills} kills, {writing} while a file was written; {readable} left a loadable last.ckpt (step {step} at last)"
    )
    for root in (killed, straight):
        process = _start(root, steps)
        process.join()
        assert process.exitcode == 0
    one, other = (torch.load(next(root.glob("**/last.ckpt")), weights_only=True) for root in (killed, straight))
    pairs = [
        (one[part][name], other[part][name]) for part in ("state_dict", "current_model_state") for name in one[part]
    ]
    differing = sum(not torch.equal(*pair) for pair in pairs)
    print(f"at step {one['global_step']}: {differing} of {len(pairs)} tensors differ from an undisturbed run's")
    print(f"drafts left behind after the end: {len(list(killed.glob(LEFTOVERS)))}")


def _start(root: Path, steps: int) -> BaseProcess:
    # Forked, so that what takes seconds to import is imported once.
    process = multiprocessing.get_context("fork").Process(target=_child, args=(command(root, steps),))
    process.start()
    return process


def _kill(root: Path, steps: int, rng: random.Random) -> None:
    """Start the run, wait until it has saved once, and kill it at a random moment of the second after that."""
    before, deadline = _saved(root), time.monotonic() + _WAIT_SECONDS
    process = _start(root, steps)
    while _saved(root) == before and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(rng.random())
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"the run ended with {process.exitcode}"


def _saved(root: Path) -> float:
    return max((path.stat().st_mtime for path in root.glob("**/last.ckpt")), default=0.0)


if __name__ == "__main__":
    main()
