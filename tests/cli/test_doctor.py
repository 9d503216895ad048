"""The doctor names what is there and what is wrong with it, imports nothing harmful, and survives everything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arlab.cli import doctor, packages
from arlab.cli.doctor import main, probe
from arlab.cli.packages import Package, conflicts, outside, parsed


def install(folder: Path, name: str, version: str, code: str = "", requires: str = "") -> None:
    """A package as pip leaves it."""
    module = folder / name.replace("-", "_")
    module.mkdir()
    (module / "__init__.py").write_text(code)
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    (info / "METADATA").write_text("\n".join([*lines, *([f"Requires-Dist: {requires}"] if requires else []), ""]))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of packages in front of all others, here and in processes started from here."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is imported."""
    monkeypatch.setattr(doctor, "probe", lambda modules: doctor.Probe({}, []))


def only(names: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what is installed only these are looked at: importing all takes seconds."""
    real = packages.installed
    monkeypatch.setattr(packages, "installed", lambda: (each for each in real() if each.name in names))


# ---- the whole command


def test_everything_is_shown_and_torch_stays_away() -> None:
    script = (
        "import sys; from arlab.cli.main import main; status = main(['doctor']);"
        "heavy = {'torch', 'lightning', 'jsonargparse', 'sklearn', 'PIL'} & set(sys.modules);"
        "print(heavy); sys.exit(9 if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    out = done.stdout
    assert done.returncode == (0 if "none known" in out else 1), out + done.stderr
    for word in (
        "versions",
        "devices",
        "disk",
        "conflicts",
        "  torch ",
        "  lightning ",
        "OMP_WAIT_POLICY=",
        "GiB free",
    ):
        assert word in out, word
    assert "(where trainer.precision is not set)" in out
    assert "unknown" not in out


@pytest.mark.usefixtures("quick")
def test_status_says_whether_something_is_wrong(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(packages, "installed", lambda: iter([Package("torch", "2.13.0", ">=2.6")]))
    monkeypatch.setattr(doctor, "_LITTLE_SPACE", 0)
    assert main([]) == 0
    assert "none known" in capsys.readouterr().out
    monkeypatch.setattr(packages, "installed", lambda: iter([Package("torch", "2.5.1", ">=2.6")]))
    assert main([]) == 1
    assert "  -  torch 2.5.1 is outside >=2.6: pip install 'torch>=2.6'\n" in capsys.readouterr().out


def test_a_compromised_release_is_not_even_imported(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only({"lightning"}, monkeypatch)
    trace = tmp_path / "imported"
    install(site, "lightning", "2.6.3", f"open({str(trace)!r}, 'w')")
    assert main([]) == 1
    assert "lightning 2.6.3 is a compromised release that steals credentials" in capsys.readouterr().out
    assert not trace.exists()


def test_a_torchvision_for_another_torch_is_named(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only({"torch", "torchvision"}, monkeypatch)
    install(site, "torchvision", "0.15.0", "raise RuntimeError('operator nms\\ndoes not exist')", "torch==2.0.0")
    assert main([]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "torchvision 0.15.0 is broken" in line]
    assert "made for torch==2.0.0, not 2." in line
    assert line.endswith("pip uninstall torchvision")


# ---- packages that misbehave


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise ImportError('libfoo.so:\\n not found')", "ImportError: libfoo.so: not found"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import os; os._exit(7)", "the process ended with status 7"),
        ("import os; os.abort()", "the process ended with status -6"),
        ("import time; time.sleep(60)", "not done after 2 seconds"),
    ],
)
def test_a_broken_package_is_a_line(code: str, error: str, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_PATIENCE", 2)
    install(site, "good", "1", r"print('{\"at\": 1'); print('[1]'); import sys; sys.stdout.buffer.write(b'\xff\n')")
    install(site, "bad", "1", code)
    assert probe(["good", "bad"]).errors == {"bad": error}


def test_what_was_looked_for_after_a_broken_package() -> None:
    found = probe(["no_such_package", "torch"])
    assert set(found.errors) == {"no_such_package"}
    assert found.fact("threads") >= 1
    assert found.fact("training") is None  # nothing was said about lightning, so it was not imported


# ---- conflicts, one by one


@pytest.mark.parametrize(
    ("package", "error", "expected"),
    [
        (Package("torch", "2.6.0", ">=2.6"), None, None),
        (Package("torch", "2.13.0+cpu", ">=2.6"), None, None),
        (Package("torch", "2.7.0.dev20250101", ">=2.6"), None, None),
        (Package("datasets", None, needed=False), None, None),
        (Package("torchvision", "0.20.0", needed=False), None, None),
        (Package("torch", None, ">=2.6"), None, "torch is not installed: pip install 'torch>=2.6'"),
        (Package("torch", "2.5", ">=2.6"), None, "torch 2.5 is outside >=2.6"),
        (Package("lightning", "3.0", ">=2.6.4,<3"), None, "lightning 3.0 is outside >=2.6.4,<3"),
        (Package("lightning", "2.6.2", ">=2.6.4,<3"), None, "lightning 2.6.2 is a compromised release"),
        (Package("torchvision", "0.20.0"), "RuntimeError: x", "torchvision 0.20.0 is broken (RuntimeError: x)"),
        (Package("pillow", "11.0"), "ImportError: x", "pillow 11.0 cannot be imported (ImportError: x)"),
    ],
)
def test_conflicts(package: Package, error: str | None, expected: str | None) -> None:
    lines = list(conflicts([package], {} if error is None else {package.module: error}))
    assert len(lines) == (expected is not None)
    if expected is not None:
        assert lines[0].startswith(expected)
        assert "\n" not in lines[0]
        assert "pip " in lines[0]  # every one has its remedy


def test_requirements_are_read() -> None:
    assert parsed("torch>=2.6") == ("torch", ">=2.6", None)
    assert parsed("jsonargparse[signatures]>=4.40") == ("jsonargparse", ">=4.40", None)
    assert parsed('ruff>=0.11; extra == "dev"') == ("ruff", ">=0.11", "dev")
    assert parsed("torch (==2.0.0)") == ("torch", "==2.0.0", None)
    assert parsed("PyYAML") == ("pyyaml", "", None)
    assert outside("2.5", ">=2.6")
    assert not outside("nonsense", ">=2.6")
    names = {package.name: package for package in packages.installed()}
    assert names["torch"].needed
    assert not names["datasets"].needed
    assert "ruff" not in names


def test_an_unused_gpu_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, vendor, kind in (("bridge", "0x10de", "0x060400"), ("other", "0x8086", "0x030000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    assert not doctor._nvidia_hardware(tmp_path)
    (tmp_path / "other" / "vendor").write_text("0x10de\n")
    (tmp_path / "unreadable").mkdir()
    assert doctor._nvidia_hardware(tmp_path)
    monkeypatch.setattr(doctor, "_nvidia_hardware", lambda: True)
    without = doctor.Probe({}, [{"at": "torch", "cuda": False, "build": "CUDA 12.8"}])
    assert list(doctor._device_conflicts(without)) == [
        "an NVIDIA GPU is there, but torch cannot use it: install or update its driver (this torch wants CUDA 12.8)"
    ]
    assert not list(doctor._device_conflicts(doctor.Probe({}, [{"at": "torch", "cuda": True}])))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not list(doctor._device_conflicts(without))


def test_gpus_are_shown() -> None:
    told = {"at": "CUDA devices", "gpu": "NVIDIA X", "index": 1, "memory": 16 << 30, "free": 12 << 30, "bf16": True}
    assert ("cuda:1", "NVIDIA X, 12.0 of 16.0 GiB free, bf16") in list(doctor._devices(doctor.Probe({}, [told])))


def test_a_disk_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARLAB_RUNS", str(tmp_path / "not" / "there"))
    monkeypatch.setattr(doctor, "_LITTLE_SPACE", 0)
    assert not list(doctor._disk_conflicts())
    assert dict(doctor._disk())["runs"].startswith(str(tmp_path / "not" / "there"))
    monkeypatch.setattr(doctor, "_writable", lambda folder: folder != tmp_path)
    assert list(doctor._disk_conflicts()) == [
        f"{tmp_path} is not writable, so runs cannot lie there: name another folder in ARLAB_RUNS"
    ]
    monkeypatch.setattr(doctor, "_LITTLE_SPACE", 1 << 62)
    assert any("less than 1 GiB free" in line for line in doctor._disk_conflicts())
