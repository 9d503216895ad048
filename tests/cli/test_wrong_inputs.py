"""Every wrong input of the table gets its one line, word for word, and status 2, and leaves no run behind."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from arlab.callbacks.atomic_io import AtomicIO
from arlab.cli.errors import guarded
from tests.cli.tiny_experiments import write_experiments
from tests.cli.wrong_inputs import ROWS, WITHOUT_GPU, Row

TABLE = ROWS if torch.accelerator.is_available() else (*ROWS, *WITHOUT_GPU)
REPOSITORY = Path(__file__).parents[2]


class Code:
    """What a malicious checkpoint would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


def write_checkpoints() -> None:
    """RUN and TOKENIZER are whole, the others are not."""
    from arlab.data.digits import Digits
    from arlab.tokenizers.vq_tokenizer import VQTokenizer
    from tests.tiny_runs import save_run, tiny_generator

    save_run(tiny_generator(), "RUN")
    save_run(VQTokenizer(facts=Digits().facts, token_width=4), "TOKENIZER")
    whole = next(Path("RUN/checkpoints").glob("*.ckpt"))
    content = torch.load(whole, weights_only=True)
    Path("half.ckpt").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    Path("empty.ckpt").write_bytes(b"")
    Path("text.ckpt").write_text("hello\n")
    torch.save({"state": Code()}, "code.ckpt")
    torch.save({"state_dict": {}}, "other.ckpt")
    torch.save({**content, "arlab": {**content["arlab"], "format": 99}}, "newer.ckpt")
    torch.save({**content, "arlab": {"format": 1}}, "entries.ckpt")


def write_images() -> None:
    """Twelve images of which one is cut off, an array with a NaN, and one that is cut off."""
    Path("folder.png").mkdir()
    Path("damaged").mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(f"damaged/{number}.png")
    Path("damaged/3.png").write_bytes(Path("damaged/3.png").read_bytes()[:300])
    pixels = rng.random((6, 8, 8))
    pixels[2, 3, 4] = np.nan
    np.savez("nan.npz", x=pixels, y=np.arange(6) % 2)
    Path("half.npz").write_bytes(Path("nan.npz").read_bytes()[:1000])


def answers() -> None:
    """Run in a process of its own, where no other test's classes are loaded: the table's answers as JSON."""
    from arlab.cli.main import main

    write_experiments(Path())
    write_checkpoints()
    write_images()
    given: dict[str, Any] = {}
    for row in TABLE:
        content = row.my if isinstance(row.my, bytes) else row.my.encode()
        Path("my.yaml").write_bytes(content)
        told = io.StringIO()
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            status = main([word.replace("\xa0", " ") for word in row.line.split(" ")])
        given[row.what] = [status, told.getvalue(), Path("runs").exists(), expected(row)]
        shutil.rmtree("runs", ignore_errors=True)
    print(json.dumps(given))


def expected(row: Row) -> str:
    """The answer with the names in braces filled in."""
    from importlib.metadata import version

    import arlab
    from arlab.cli import schema
    from arlab.cli.catalogue import kinds
    from arlab.cli.errors import suggestion
    from arlab.cli.main import COMMANDS
    from arlab.cli.sample import parser
    from arlab.data.digits import Digits
    from arlab.runs.checkpoint import FORMAT
    from arlab.trained import find_device

    bases = {base.name: base.cls for base in kinds().values()}
    flags = [name for action in parser()._actions for name in action.option_strings if name.startswith("--")]
    known = {name: ", ".join(sorted(schema.named((cls,)))) for name, cls in bases.items()} | {
        "Digits": ", ".join(sorted(schema.options(Digits))),
        "commands": ", ".join(sorted(COMMANDS)),
        "flags": ", ".join(sorted(flags)),
        "keys": ", ".join(sorted(schema._TOP)),
        "here": str(Path().resolve()),
        "version": arlab.__version__,
        "format": str(FORMAT),
        "torch": version("torch"),
        "cores": str(os.cpu_count()),
        "devices": "cpu" if (kind := find_device(None).type) == "cpu" else f"cpu, {kind}",
        "key": "{key}",
    }

    def fill(found: re.Match[str]) -> str:
        word = found[1]
        if word.startswith("near "):
            _, base, name = word.split(" ")
            return suggestion(name, schema.named((bases[base],)))
        return known.get(word, found[0])

    text = row.answer.replace("{{", "\1").replace("}}", "\2")
    return re.sub(r"\{([\w./ ]+)\}", fill, text).replace("\1", "{").replace("\2", "}")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARLAB_")}
    environment |= {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    script = "from tests.cli.test_wrong_inputs import answers; answers()"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path_factory.mktemp("wrong"),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_the_table_is_long() -> None:
    assert len({row.what for row in TABLE}) == len(TABLE) >= 90


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
def test_answer(row: Row, given: dict[str, Any]) -> None:
    status, line, runs, answer = given[row.what]
    pattern = re.escape(f"arlab: error: {answer}\n").replace(re.escape("{key}"), "[0-9a-f]{8}")
    assert re.fullmatch(pattern, line), f"\n{line}arlab: error: {answer}"
    assert status == 2
    assert not runs


# ---- what comes while running


def test_too_little_memory_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def allocates() -> int:
        return torch.empty(2**60, 16).numel()

    def raises() -> int:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity ...")

    for function in (allocates, raises):
        assert guarded(function) == 2
    first, second = capsys.readouterr().err.splitlines()
    rest = "; make the batch (data.batch_size) or the model (its widths and depths) smaller"
    assert first == f"arlab: error: not enough memory{rest}"
    assert second == f"arlab: error: not enough memory (20.00 GiB asked for at once){rest}"


class Refusing(torch.utils.data.Dataset[int]):
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise self.error


def test_a_mistake_found_in_a_worker_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def load(error: Exception) -> int:
        return len(list(torch.utils.data.DataLoader(Refusing(error), num_workers=1)))

    assert guarded(lambda: load(ValueError("data.root: cat/7.png: not an image"))) == 2
    assert capsys.readouterr().err == "arlab: error: data.root: cat/7.png: not an image\n"
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: load(ZeroDivisionError("a bug")))


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX systems can")
def test_a_full_disk_is_one_line_and_keeps_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import resource

    monkeypatch.chdir(tmp_path)
    AtomicIO().save_checkpoint({"old": 1}, "last.ckpt")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # Files may not grow beyond a limit: writes fail as they do on a full disk.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        status = guarded(lambda: AtomicIO().save_checkpoint({"new": torch.zeros(10**6)}, "last.ckpt") or 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert status == 2
    assert capsys.readouterr().err == "arlab: error: last.ckpt: File too large\n"
    assert torch.load("last.ckpt") == {"old": 1}
    assert [path.name for path in Path().iterdir()] == ["last.ckpt"]
