"""``arlab doctor``: versions, devices, disk, and what is known to go wrong with them."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arlab
from arlab.cli import packages
from arlab.cli.parser import Parser
from arlab.runs.folder import runs_root

_EXAMPLES = """\
  arlab doctor
  arlab doctor && arlab fit --config experiments/fashion/raster.yaml"""
_PATIENCE = 180
_LITTLE_SPACE = 1 << 30
_NVIDIA = "0x10de"
_DISPLAY = "0x03"


@dataclass(frozen=True)
class Probe:
    """What a process of its own found out (see ``arlab.cli.probe``).

    Attributes:
        errors: what was imported or looked for, and why it failed.
        told: its other answers.
    """

    errors: Mapping[str, str]
    told: Sequence[Mapping[str, Any]]

    def fact(self, name: str) -> Any:
        """The answer of this name; None where there is none."""
        return next((told[name] for told in self.told if name in told), None)


def main(argv: list[str]) -> int:
    """Run the command; 1 if there is a conflict."""
    Parser(
        command="doctor",
        description="Versions, devices, disk, and known conflicts with their remedies; exit status 1 if there is one.",
        examples=_EXAMPLES,
    ).read(argv)
    found = list(packages.installed())
    # Importing a compromised release is what runs it.
    probed = probe([package.module for package in found if package.version is not None and not package.compromised])
    python = f"{platform.python_version()} {platform.python_implementation()}, {platform.platform()}"
    _show("versions", [("arlab", arlab.__version__), ("python", python), *((p.name, str(p)) for p in found)])
    _show("devices", _devices(probed))
    _show("disk", _disk())
    conflicts = [*packages.conflicts(found, probed.errors), *_device_conflicts(probed), *_disk_conflicts()]
    _show("conflicts", [("-", line) for line in conflicts] or [("-", "none known")])
    return 1 if conflicts else 0


# ---- devices


def probe(modules: Sequence[str]) -> Probe:
    """Import and look in another process: a package that raises, prints or crashes is a line, not the end."""
    command = [sys.executable, "-m", "arlab.cli.probe", *modules]
    path = os.pathsep.join(filter(None, [str(Path(arlab.__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_PATIENCE, env={**os.environ, "PYTHONPATH": path}, check=False
        )
        output, end = done.stdout, f"the process ended with status {done.returncode}"
    except subprocess.TimeoutExpired as error:
        output, end = error.stdout or b"", f"not done after {_PATIENCE} seconds"
    told = [answer for line in output.decode(errors="replace").splitlines() if (answer := _answer(line)) is not None]
    errors = {answer["at"]: answer["error"] for answer in told if "error" in answer}
    # Where it did not come to its end, what it had begun last is what ended it.
    begun = told[-1]["at"] if told else "python"
    if begun != "end":
        errors.setdefault(begun, end)
    return Probe(errors, told)


def _answer(line: str) -> Mapping[str, Any] | None:
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and "at" in answer else None


def _devices(probed: Probe) -> Iterator[tuple[str, str]]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = probed.fact("threads") or "unknown"
    waiting = f"OMP_WAIT_POLICY={os.environ.get('OMP_WAIT_POLICY', '(not set)')}"
    yield "cpu", f"{platform.machine()}, cores: {os.cpu_count()}, usable: {usable}, threads: {threads}, {waiting}"
    gpus = [told for told in probed.told if "gpu" in told]
    for told in gpus:
        size = f"{told['free'] / 2**30:.1f} of {told['memory'] / 2**30:.1f} GiB free"
        yield f"cuda:{told['index']}", f"{told['gpu']}, {size}, {'bf16' if told['bf16'] else 'no bf16'}"
    if not gpus:
        build = probed.fact("build")
        yield "cuda", f"none (torch is built for {build or 'the CPU only'})"
    yield "mps", "yes" if probed.fact("mps") else "none"
    yield "training", f"{probed.fact('training') or 'unknown'} (where trainer.precision is not set)"


def _device_conflicts(probed: Probe) -> Iterator[str]:
    # A package that cannot be imported is told already.
    imported = not {"torch", "lightning"} & probed.errors.keys()
    for name in ("python", "CUDA devices", *(["precision"] if imported else [])):
        if name in probed.errors:
            yield f"looking at {name} failed: {probed.errors[name]}"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    if probed.fact("cuda") is False and not hidden and _nvidia_hardware():
        build = probed.fact("build")
        remedy = (
            f"install or update its driver (this torch wants {build})" if build else "install a CUDA build of torch"
        )
        yield f"an NVIDIA GPU is there, but torch cannot use it: {remedy}"


def _nvidia_hardware(devices: Path = Path("/sys/bus/pci/devices")) -> bool:
    """Whether Linux sees an NVIDIA display device, driver or not."""
    for device in devices.glob("*"):
        try:
            vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
        except OSError:
            continue
        if vendor == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return False


# ---- disk


def _disk() -> Iterator[tuple[str, str]]:
    runs, temporary = _existing(runs_root()), _existing(_temporary())
    for name, path, there in (("runs", runs_root(), runs), ("temporary", _temporary(), temporary)):
        free = shutil.disk_usage(there).free / 2**30
        yield name, f"{path.absolute()}: {free:.1f} GiB free, {'writable' if _writable(there) else 'not writable'}"
    same = runs.stat().st_dev == temporary.stat().st_dev
    yield "filesystem", f"runs and temporary files lie on {'the same one' if same else 'two'}"
    locks = importlib.util.find_spec("fcntl") is not None
    yield "file locks", "yes" if locks else "none: nothing keeps two processes from training the same run"


def _disk_conflicts() -> Iterator[str]:
    for key, path, variable in (("runs", runs_root(), "ARLAB_RUNS"), ("temporary files", _temporary(), "TMPDIR")):
        there = _existing(path)
        if not _writable(there):
            yield f"{there} is not writable, so {key} cannot lie there: name another folder in {variable}"
        elif shutil.disk_usage(there).free < _LITTLE_SPACE:
            yield f"{there} has less than 1 GiB free for {key}: make room, or name another folder in {variable}"


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except OSError:  # none is writable
        return Path(os.environ.get("TMPDIR", os.curdir))


def _existing(path: Path) -> Path:
    """The folder, or the nearest above it that there is."""
    path = path.absolute()
    return next((folder for folder in (path, *path.parents) if os.path.isdir(folder)), Path(path.anchor))


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _show(title: str, rows: Iterator[tuple[str, str]] | Sequence[tuple[str, str]]) -> None:
    rows = list(rows)
    width = max(len(name) for name, _ in rows)
    print(title)
    for name, value in rows:
        print(f"  {name:<{width}}  {value}")
