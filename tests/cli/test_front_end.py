"""The light commands: help at once, one-line errors, the same pictures as in Python, every component described."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console

import arlab
from arlab.cli.catalogue import Component, components, faces, find, kinds, of_kind
from arlab.cli.components import description
from arlab.cli.main import COMMANDS, main
from arlab.cli.papers import Paper, papers_in
from arlab.configurable import Configurable, from_spec
from arlab.data.digits import Digits
from arlab.discovery import discover
from arlab.generators.schedules import PerStep, Ramp
from arlab.orderings.traversal import Traversal
from arlab.tokenizers.vq_tokenizer import VQTokenizer
from tests.tiny_runs import save_run, tiny_generator

discover()
RUN = "runs/tiny/raster"
OFFERED = [component for component in components() if component.cls.__module__.startswith("arlab.")]


class Roundabout(Traversal):
    """A plugin's ordering: from the centre outwards."""

    def groups(self, grid):
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _with_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ARLAB_RUNS", raising=False)
    save_run(tiny_generator(), f"{RUN}/aaaaaaaa")


def told(capsys) -> str:
    """The one line on the error stream."""
    line = capsys.readouterr().err
    assert line.startswith("arlab: error: ")
    assert line.count("\n") == 1
    return line


# ---- help


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["nonsense"], *([name, "--help"] for name in COMMANDS)]
)
def test_help_imports_nothing_heavy(arguments):
    script = (
        "import sys; from arlab.cli.main import main; status = main(sys.argv[1:]);"
        "heavy = {'torch', 'lightning', 'jsonargparse', 'sklearn', 'PIL'} & set(sys.modules);"
        "print(heavy); sys.exit(9 if heavy else status)"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == (2 if arguments == ["nonsense"] else 0), done.stdout + done.stderr


def test_help_names_every_command(capsys):
    assert main(["--help"]) == main([]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"arlab {arlab.__version__}\n"


@pytest.mark.parametrize("name", ["fit", "validate", "test"])
def test_help_of_training_says_where_the_rest_is(name, capsys):
    assert main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert "--config" in out
    assert "--help_all" in out


# ---- errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["smple"], "no command 'smple'. Did you mean 'sample'?"),
        (["sample"], "required: RUN"),
        (["sample", "runs/tiny/rastr"], "Did you mean runs/tiny/raster"),
        (["sample", RUN, "--guidence_scale", "2"], "Did you mean '--guidance_scale'?"),
        (["sample", RUN, "--num_images", "many"], "--num_images: invalid int value: 'many'"),
        (["sample", RUN, "--num_images", "0"], "num_images: must be from 1 to 1000000, got 0"),
        (["sample", RUN, "--classes", "3"], "classes: no class '3'; there are: 0 Shoe, 1 ankle boot, 2 bag"),
        (["sample", RUN, "--temperature", "1", "-1"], "temperature: must be at least 0, got -1.0"),
        (["sample", RUN, "--top_p", "0"], "top_p: must be positive and at most 1, got 0.0"),
        (["sample", RUN, "--device", "tpu"], "device: 'tpu' is not available here"),
        (["sample", RUN, "--out", "grid.jpeg"], "out: must be a .png file, got grid.jpeg"),
        (["sample", RUN, "--columns", "0"], "columns: must be at least 1, got 0"),
        (["sample", RUN, "--steps_out", "runs"], "steps_out: runs is not empty"),
        (["list", "orderngs"], "Did you mean 'orderings'?"),
        (["describe", "Rastr"], "Did you mean 'Raster'?"),
        (["describe", "callbacks"], "callbacks have no class in common that could be described; see `arlab list callb"),
        (["describe", "NoRotary", "--bibtex"], "names no paper"),
        (["export", RUN], "required: --out"),
        (["export", RUN, "--out", "runs"], "out: runs exists and is not an empty folder"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in told(capsys)
    assert not Path("grid.png").exists()


@pytest.mark.parametrize("command", ["smple", "sample", "fit"])
def test_debug_shows_the_traceback(command):
    for arguments in ([command, "unexpected", "--debug"], ["--debug", command, "unexpected"]):
        with pytest.raises(ValueError, match=r"command|unexpected"):
            main(arguments)


def test_a_tokenizer_is_not_sampled(capsys):
    save_run(VQTokenizer(facts=Digits().facts, token_width=4), "runs/tiny/vq/aaaaaaaa")
    assert main(["sample", "runs/tiny/vq"]) == 2
    assert "is a VQTokenizer, expected a Generator" in told(capsys)


# ---- sample and export


def test_sample_writes_what_python_gives(capsys):
    arguments = ["--num_images", "5", "--classes", "bag", "0", "--guidance_scale", "2", "--seed", "7", "--top_k", "6"]
    assert main(["sample", RUN, *arguments, "--out", "deep/er/grid.png", "--batch_size", "2"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("deep/er/grid.png  5 images, ")
    assert out.endswith(" images/s\n")
    pictures = arlab.load(RUN).sample(num_images=5, classes=["bag", 0], guidance_scale=2.0, seed=7, top_k=6)
    assert np.array_equal(np.asarray(Image.open("deep/er/grid.png")), pictures.grid())
    pictures.save("python.png")
    assert Path("python.png").read_bytes() == Path("deep/er/grid.png").read_bytes()
    assert [path.name for path in Path("deep/er").iterdir()] == ["grid.png"]


def test_several_numbers_are_one_a_step():
    arguments = ["--num_images", "4", "--temperature", "1.5", "0", "--top_k", "6", "3", "0"]
    assert main(["sample", RUN, *arguments]) == 0
    temperature, top_k = PerStep(values=(1.5, 0)), PerStep(values=(6, 3, 0))
    pictures = arlab.load(RUN).sample(num_images=4, temperature=temperature, top_k=top_k)
    assert np.array_equal(np.asarray(Image.open("grid.png")), pictures.grid())


def test_a_schedule_of_temperatures_is_named():
    assert main(["sample", RUN, "--num_images", "4", "--temperature", "Ramp", "start=1.5", "end=0"]) == 0
    pictures = arlab.load(RUN).sample(num_images=4, temperature=Ramp(start=1.5, end=0.0))
    assert np.array_equal(np.asarray(Image.open("grid.png")), pictures.grid())


def test_steps_grow_to_the_final_grid():
    arguments = ["--num_images", "3", "--batch_size", "2", "--seed", "1"]
    assert main(["sample", RUN, *arguments, "--steps_out", "steps"]) == 0
    frames = sorted(Path("steps").iterdir())
    assert [frame.name for frame in frames] == [f"step_{step:04d}.png" for step in range(12)]
    assert frames[-1].read_bytes() == Path("grid.png").read_bytes()
    assert frames[0].read_bytes() != frames[-1].read_bytes()
    assert main(["sample", RUN, *arguments, "--steps_out", "steps.gif"]) == 0
    assert Image.open("steps.gif").n_frames == 12
    assert sorted(path.name for path in Path().iterdir()) == ["grid.png", "runs", "steps", "steps.gif"]


def test_exported_folder_is_a_run(capsys):
    assert main(["export", RUN, "--out", "exported"]) == 0
    assert "model.safetensors" in capsys.readouterr().out
    assert main(["sample", RUN, "--out", "run.png"]) == 0
    assert main(["sample", "exported", "--out", "exported.png"]) == 0
    assert Path("run.png").read_bytes() == Path("exported.png").read_bytes()


# ---- list and describe


def test_list_shows_every_component(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for component in OFFERED:
        assert f"\n {component.name} " in out
    assert main(["list", "orderings"]) == 0
    orderings = capsys.readouterr().out
    assert "Raster" in orderings
    assert "arXiv 2406.06525" in orderings
    assert "DiscreteHead" not in orderings


def test_kinds_go_by_several_names():
    for name in ("orderings", "ordering", "Ordering"):
        assert "Raster" in [component.name for component in of_kind(name)]
    assert [component.name for component in of_kind("data")] == [component.name for component in of_kind("ImageData")]
    assert {"orderings", "heads", "tokenizers", "backbones", "guidance", "conditioners", "data"} <= set(kinds())
    assert all(of_kind(kind) for kind in kinds())


@pytest.mark.parametrize("name", ["orderings", "ordering", "feature-networks", "Guidance", "data"])
def test_a_kind_is_described_under_each_of_its_names(name):
    (kind,) = find(name)
    assert kind.abstract
    assert kind.implementations
    assert kind.cls in {base.cls for base in kinds().values()}


def test_plugins_are_found_once_imported_under_the_outermost_kind():
    (roundabout,) = find("roundabout")
    assert (roundabout.cls, roundabout.kind, roundabout.base.__name__) == (Roundabout, "orderings", "Ordering")
    assert roundabout in of_kind("orderings")


def test_faces_for_authors_are_listed_and_described_but_cannot_be_named(capsys):
    assert main(["describe", "Traversal"]) == 0
    out = capsys.readouterr().out
    assert "subclass it and define groups" in out
    assert "Raster" in out
    assert "in a configuration file" not in out
    assert main(["list"]) == 0
    assert re.search(r"\n Traversal +to subclass: ", capsys.readouterr().out)
    assert "Traversal" not in [component.name for component in components()]


@pytest.mark.parametrize("component", [*OFFERED, *faces(), *kinds().values()], ids=lambda component: component.name)
def test_every_component_is_documented_and_described(component: Component):
    console = Console(width=100, record=True, file=open("out.txt", "w"))  # noqa: SIM115
    console.print(description(component))
    text = console.export_text()
    assert component.summary
    assert component.cls.__module__ in text
    for option in component.options:
        assert option.name in text
        assert option.help, f"{component.name}.{option.name} has no help"
        assert option.type not in ("", "<class 'inspect._empty'>")
    mentioned = len(set(re.findall(r"arXiv \S+\d", inspect.getdoc(component.cls))))
    assert len(component.papers) == mentioned, f"{component.name}: a paper is not in the form 'Title, arXiv NNNN.NNNNN'"


@pytest.mark.parametrize("component", OFFERED, ids=lambda component: component.name)
def test_example_is_yaml_that_builds(component: Component):
    written = yaml.safe_load(component.example())
    while isinstance(written, list) or (isinstance(written, dict) and "class_path" not in written):
        (written,) = written if isinstance(written, list) else written.values()
    spec = {"class_path": written} if isinstance(written, str) else written
    assert spec["class_path"] == component.name
    if any(option.required or "DataFacts" in option.type for option in component.options):
        return
    full = f"{component.cls.__module__}.{component.name}"
    built = from_spec({"class_path": full, "init_args": spec.get("init_args", {})}, Configurable)
    assert built.spec() == component.cls().spec()


def test_bibtex_cites_what_is_written_there(capsys):
    assert main(["describe", "raster", "--bibtex"]) == 0
    assert capsys.readouterr().out == (
        "@misc{llamagen,\n"
        "  title = {{Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation}},\n"
        "  year = {2024},\n"
        "  eprint = {2406.06525},\n"
        "  archivePrefix = {arXiv},\n"
        "  url = {https://arxiv.org/abs/2406.06525},\n"
        "  key = {LlamaGen},\n"
        "}\n"
    )


def test_every_bibtex_entry_is_well_formed():
    entries = {paper.bibtex() for component in OFFERED for paper in component.papers}
    assert len(entries) > 20
    for entry in entries:
        head, *fields, end = entry.splitlines()
        assert re.fullmatch(r"@misc\{[a-z0-9-]+,", head)
        assert all(re.fullmatch(r"  \w+ = \{[^{}]+\},|  title = \{\{[^{}]+\}\},", field) for field in fields), entry
        assert not re.search(r"[&%#_$]", "".join(fields[:1])), "needs a backslash in BibTeX"
        assert end == "}"
    years = {paper.number: paper.year for component in OFFERED for paper in component.papers}
    assert (years["2404.02905"], years["1402.0915"]) == (2024, 2014)


@pytest.mark.parametrize(
    ("text", "papers"),
    [
        ("Does it.\n\nA Title:\nof Two Lines (AT), arXiv 2401.00001.", [("A Title: of Two Lines", "2401.00001", "AT")]),
        ("as before (One Title, arXiv 2401.00001; Two (II), arXiv 2401.00002)", [
            ("One Title", "2401.00001", None),
            ("Two", "2401.00002", "II"),
        ]),
        ("One Title, arXiv 2401.00001.\nTwo, arXiv 2401.00002.\n\nOne Title, arXiv 2401.00001", [
            ("One Title", "2401.00001", None),
            ("Two", "2401.00002", None),
        ]),
        ("No paper (at all).", []),
    ],
)  # fmt: skip
def test_papers_are_read_off_the_text(text, papers):
    assert papers_in(text) == [Paper(*paper) for paper in papers]
    assert all(str(paper) in " ".join(text.split()) for paper in papers_in(text))
