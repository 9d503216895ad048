"""An experiment: a checked configuration, and the experiment its tokenizer comes from."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from arlab import plugins
from arlab.cli.arguments import Request
from arlab.cli.config import Tree, experiment_name, find, overlay, read
from arlab.cli.errors import suggestion
from arlab.cli.lightning_cli import ArlabCLI
from arlab.cli.prepared import Prepared
from arlab.cli.schema import checked, named
from arlab.configurable import from_spec, to_plain
from arlab.data.data import ImageData
from arlab.data.facts import DataFacts
from arlab.generators.from_run import FromRun
from arlab.runs.content import content_of
from arlab.runs.folder import RunFolder, runs_root
from arlab.runs.resolve import resolve
from arlab.tokenizers.tokenizer import Tokenizer

# Where a run is computed is the same for every stage of it.
_WHERE = ("accelerator", "devices", "num_nodes", "strategy", "enable_progress_bar")


@dataclass(frozen=True)
class Experiment:
    """What is to be trained.

    Attributes:
        name: its folder below the runs.
        title: how it is called on the screen: its file, or its name.
        tree: the checked configuration.
        root: where runs lie.
        folders: where paths in the configuration are looked for after the working directory.
    """

    name: str
    title: str
    tree: Tree
    root: Path
    folders: tuple[Path, ...]

    @property
    def part(self) -> str:
        """Tokenizer or generator."""
        return "tokenizer" if issubclass(_class_of(self.tree["model"]), Tokenizer) else "generator"

    @property
    def tokenizer(self) -> str | None:
        """The run, checkpoint or experiment file the tokenizer comes from; None where it is a class of its own."""
        named = self.tree["model"]["init_args"].get("tokenizer")
        return named if isinstance(named, str) else None

    @property
    def weights(self) -> str | None:
        """The run that the initial weights come from; None where they are drawn."""
        start = self.tree["model"]["init_args"].get("initialisation")
        named = isinstance(start, dict) and "class_path" in start and issubclass(_class_of(start), FromRun)
        return start["init_args"]["run"] if named else None

    def tokenizer_experiment(self) -> Experiment | None:
        """The experiment file that makes the tokenizer, where one is named.

        Its data is the generator's where it names no class of its own, and what stands under ``tokenizer`` in the
        generator's configuration is laid over it.

        Raises:
            ValueError: there is no such file, or it makes something else, or says something it may not.
        """
        file = self.tokenizer
        if file is None or Path(file).suffix not in (".yaml", ".yml"):
            return None
        path = find(file, self.folders)
        if path is None:
            raise ValueError(f"model.tokenizer: no such experiment: {file}")
        where = {key: value for key, value in self.tree["trainer"].items() if key in _WHERE}
        # Classes replaced inside the tokenizer's own files are told when it is fitted itself.
        tree = read(path, [])
        if not _names_class(tree.get("data")):
            data = _class_of(self.tree["data"])
            assert issubclass(data, ImageData)
            if not data.carries_tokens:
                tree = overlay({"data": copy.deepcopy(self.tree["data"])}, tree, [])
            elif not _names_class((self.tree.get("tokenizer") or {}).get("data")):
                raise ValueError(
                    f"model.tokenizer: {file} names no data of its own and would be trained on the generator's, but "
                    f"{data.__name__} holds tokens in place of images; name the run that made them "
                    "(--model.tokenizer RUN) or its data (--tokenizer.data NAME)"
                )
        for own in ({"trainer": where}, self.tree.get("tokenizer") or {}):
            tree = overlay(tree, own, [])
        try:
            plugins.load_named(_named_plugins(tree, (path.parent, *self.folders)))
            tree = _checked(tree)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        made = Experiment(
            name=str(tree.get("experiment") or experiment_name([path])),
            title=_called(file, path),
            tree=_without_paths(tree),
            root=self.root,
            folders=(path.parent, *self.folders),
        )
        if made.part != "tokenizer":
            raise ValueError(f"model.tokenizer: {file} makes a {made.part}, not a tokenizer")
        return made

    def with_untrained_tokenizer(self) -> Experiment:
        """With the tokenizer as a class where its experiment was named: all that can be said before it is trained."""
        made = self.tokenizer_experiment()
        if made is None:
            return self
        model = copy.deepcopy(self.tree["model"])
        model["init_args"]["tokenizer"] = made.tree["model"]
        return dataclasses.replace(self, tree={**self.tree, "model": model})

    def prepare(self, tokenizer: RunFolder | None = None, start: str | None = None) -> Prepared:
        """Wire the data's facts into the model and find the run folder.

        Args:
            tokenizer: the run the tokenizer comes from, where its experiment was named.
            start: what to start from, as it was named; see ``find_start``.

        Raises:
            ValueError: model and data contradict each other, or there is no such tokenizer.
        """
        if tokenizer is not None:
            return self.assembled(str(tokenizer.path), tokenizer.key, start)
        if self.tokenizer is None:
            return self.assembled(None, None, start)
        found = find(self.tokenizer, self.folders)
        if found is None:
            raise ValueError(f"model.tokenizer: {_no_tokenizer(self.tokenizer, self.root)}")
        return self.assembled(str(found), _key_of_run(found), start)

    def assembled(self, tokenizer: str | None, tokenizer_key: str | None, start: str | None = None) -> Prepared:
        """Data made and configuration parsed, with the tokenizer found elsewhere or left as the configuration has it.

        Raises:
            ValueError: model and data contradict each other.
        """
        # Parsing changes what it is given.
        tree = {**copy.deepcopy(self.tree), "experiment": self.name}
        weights = None if self.weights is None else find(self.weights, self.folders)
        if weights is not None:
            tree["model"]["init_args"]["initialisation"]["init_args"]["run"] = str(weights)
        if tokenizer is not None:
            tree["model"]["init_args"]["tokenizer"] = tokenizer
            tree.pop("tokenizer", None)
        data = from_spec(copy.deepcopy(self.tree["data"]), ImageData, "data")
        _wire(tree["model"], data, "model")
        runs = self.root / self.name
        weights_key = None if weights is None else _key_of_run(weights)
        return Prepared(self.part, self.title, runs, data, ArlabCLI(tree), tokenizer_key, start, weights_key)


def from_request(request: Request) -> Experiment:
    """The experiment a command line asks for.

    Raises:
        ValueError: the configuration says something it may not, or a plugin cannot be loaded.
    """
    plugins.load_all(_named_plugins(request.tree, request.folders))
    tree = _checked(request.tree)
    return Experiment(
        name=request.name,
        title=request.named[0] if request.named else request.name,
        tree=_without_paths(tree),
        root=runs_root(tree.get("run_root")),
        folders=request.folders,
    )


def _named_plugins(tree: Tree, folders: Iterable[Path]) -> list[str | Path]:
    """The plugins that a configuration names, to be executed before the classes they define are looked for."""
    files = tree.get("plugins") or []
    if not isinstance(files, list) or not all(isinstance(file, str) for file in files):
        raise ValueError(f"plugins: expected Python files, got {files!r}")
    return [find(file, folders) or file for file in files]


def _checked(tree: Tree) -> Tree:
    """The tree with classes found; it names the plugins that were found by themselves, too, as far as it uses them."""
    tree = checked(tree)
    found = plugins.found_files(tree)
    return {**tree, "plugins": [*tree.get("plugins", []), *found]} if found else tree


def _called(named: str, found: Path) -> str:
    """How a file that was named in a configuration is to be named on a command line."""
    if find(named, [Path(__file__).parent]) == found:
        return named
    return str(found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found)


def _names_class(node: object) -> bool:
    return isinstance(node, str) or (isinstance(node, dict) and "class_path" in node)


def _without_paths(tree: Tree) -> Tree:
    return {key: value for key, value in tree.items() if key not in ("run_root", "ckpt_path", "start")}


def _wire(spec: Tree, data: ImageData, at: str) -> None:
    """Give every part of the model that asks for facts those of the data."""
    options = spec["init_args"]
    for key, value in options.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict) and "class_path" in item:
                _wire(item, data, f"{at}.{key}")
    if "facts" not in inspect.signature(_class_of(spec)).parameters:
        return
    if options.get("facts") is not None:
        given = {**options["facts"]}
        for key in given.keys() & {"image_size", "class_names"}:
            given[key] = tuple(given[key])
        contradiction = dataclasses.replace(data.facts, **given).contradiction(data.facts)
        if contradiction is not None:
            raise ValueError(f"{at}.facts: {contradiction} of the data ({type(data).__name__})")
    options["facts"] = _plain_facts(data.facts)


def _plain_facts(facts: DataFacts) -> Tree:
    plain = to_plain(facts)
    assert isinstance(plain, dict)
    return plain


def _key_of_run(path: Path) -> str:
    """What identifies a model that is named by its run: the run's key where it is finished, else its content."""
    found = resolve(path)
    folder = RunFolder(found.parent.parent)
    if path.is_dir() and found.is_file() and folder.finished:
        return folder.key
    return content_of(found)


def _no_tokenizer(given: str, root: Path) -> str:
    known: Iterable[str] = (path.parent.parent.as_posix() for path in root.glob("**/checkpoints/best.ckpt"))
    near = suggestion(given, [*known, *named((Tokenizer,))])
    return f"no class, run, checkpoint or experiment '{given}'.{near}{plugins.left_out()}"


def _class_of(spec: Tree) -> type:
    module, _, name = spec["class_path"].rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    assert isinstance(cls, type)
    return cls
