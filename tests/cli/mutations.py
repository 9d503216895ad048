"""Random mistakes in configurations: what a tired researcher does to a YAML file, and worse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml
from hypothesis import strategies as st

from arlab.cli.catalogue import components
from arlab.discovery import discover

discover()
Path = tuple[Any, ...]
# Names of every component, in short and in full, and of things that are none.
CLASSES = sorted({component.name for component in components() if component.cls.__module__.startswith("arlab.")})
NAMES = [
    *CLASSES,
    *(each.lower() for each in CLASSES[:3]),
    "Traversal",
    "Ordering",
    "arlab.orderings.traversal.Traversal",
    "arlab.heads.discrete.DiscreteHead",
    "arlab.heads.discrete",
    "os.system",
    "torch.nn.Linear",
    "builtins.dict",
    "no.such.Thing",
    "..",
]
VALUES: list[Any] = [
    *(0, -1, 1, 2, 3, 7, 10**12, -(10**12), 2**63, 10**40, 0.5, -0.5, 1.5, 1e308, float("nan"), float("inf")),
    *("", " ", "x", "null", "auto", "true", "1e-3", "nan", "µ∂🙂", "a\nb", "../..", "/", "nothing.yaml", "a/b.ckpt"),
    *(None, True, False, [], {}, [[]], [None], [0], [1, 2, 3], [1, [2, {"a": 1}]], {"a": 1}, {"": 0}, {1: 2}),
    *({"class_path": "Raster"}, {"class_path": None}, {"class_path": []}, {"init_args": {}}, {"init_args": [1]}),
    *({"class_path": "Digits", "init_args": "x"}, "Digits", ["SampleGrid"], "PixelTokenizer", 10.0**12),
]
KEYS = [
    "",
    "x",
    "facts",
    "seed",
    "init_args",
    "class_path",
    "base",
    "a.b",
    "tokenizer",
    "dict_kwargs",
    "model",
    "+",
    "µ",
]


def sites(node: Any, at: Path = ()) -> list[Path]:
    """The path of everything in a tree but the tree itself."""
    found: list[Path] = []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found += [(*at, key), *sites(value, (*at, key))]
    return found


def get(tree: Any, path: Path) -> Any:
    """What lies at a path."""
    for key in path:
        tree = tree[key]
    return tree


@dataclass(frozen=True)
class Mutation:
    """A change of a tree.

    Attributes:
        change: takes the parent, the key in it, this mutation and the whole tree.
        site: which place, modulo their number.
        value: what is put there, for changes that put something.
        name: of a class, for those that name one.
        key: of a mapping, for those that name one.
    """

    change: Callable[[Any, Any, Mutation, Any], None]
    site: int
    value: Any
    name: str
    key: str

    def apply(self, tree: Any) -> None:
        """Change the tree in place."""
        places = sites(tree)
        if places:
            *above, key = places[self.site % len(places)]
            self.change(get(tree, tuple(above)), key, self, tree)


def replace(parent: Any, key: Any, mutation: Mutation, tree: Any) -> None:
    parent[key] = copy.deepcopy(mutation.value)


def delete(parent: Any, key: Any, mutation: Mutation, tree: Any) -> None:
    del parent[key]


def rename(parent: Any, key: Any, mutation: Mutation, tree: Any) -> None:
    if isinstance(parent, dict):
        value = parent.pop(key)
        word = str(key)
        at = mutation.site % (len(word) + 1)
        parent[word[:at] + word[at + 1 :] if mutation.site % 2 else mutation.key] = value


def insert(parent: Any, key: Any, mutation: Mutation, tree: Any) -> None:
    if isinstance(parent, dict):
        parent[mutation.key] = copy.deepcopy(mutation.value)
    else:
        parent.insert(key, copy.deepcopy(mutation.value))


def swap_class(parent: Any, key: Any, mutation: Mutation, tree: Any) -> None:
    classes = [path for path in sites(tree) if path[-1] == "class_path"]
    path = classes[mutation.site % len(classes)] if classes else None
    if path is None or mutation.site % 3 == 0:
        parent[key] = mutation.name
    else:
        get(tree, path[:-1])["class_path"] = mutation.name


def move(parent: Any, key: Any, mutation: Mutation, tree: Any) -> None:
    places = sites(tree)
    source = places[(mutation.site * 7919 + 13) % len(places)]
    parent[key] = copy.deepcopy(get(tree, source))


def wrap(parent: Any, key: Any, mutation: Mutation, tree: Any) -> None:
    parent[key] = [parent[key]] if mutation.site % 2 else {mutation.key: parent[key]}


def hoist(parent: Any, key: Any, mutation: Mutation, tree: Any) -> None:
    if isinstance(parent[key], dict) and isinstance(parent[key].get("init_args"), dict):
        parent[key].update(parent[key].pop("init_args"))
    else:
        parent[key] = copy.deepcopy(mutation.value)


def as_text(parent: Any, key: Any, mutation: Mutation, tree: Any) -> None:
    parent[key] = str(parent[key])


CHANGES = (replace, replace, replace, delete, rename, insert, swap_class, swap_class, move, wrap, hoist, as_text)
_SITES = st.integers(0, 9999)
mutations = st.builds(
    Mutation,
    change=st.sampled_from(CHANGES),
    site=_SITES,
    value=st.sampled_from(VALUES),
    name=st.sampled_from(NAMES),
    key=st.sampled_from(KEYS),
)


@dataclass(frozen=True)
class Slip:
    """A change of the text of a file: a line doubled, a character put in or taken out, the end cut off.

    Attributes:
        kind: which.
        where: at which line or character, modulo their number.
        character: what is put in.
    """

    kind: Callable[[str, Slip], str]
    where: int
    character: str


def doubled_line(text: str, slip: Slip) -> str:
    lines = text.splitlines(keepends=True)
    at = slip.where % len(lines)
    return "".join([*lines[: at + 1], lines[at], *lines[at + 1 :]])


def put_in(text: str, slip: Slip) -> str:
    at = slip.where % len(text)
    return text[:at] + slip.character + text[at:]


def taken_out(text: str, slip: Slip) -> str:
    at = slip.where % len(text)
    return text[:at] + text[at + 1 :]


def cut_off(text: str, slip: Slip) -> str:
    return text[: slip.where % len(text)]


slips = st.builds(
    Slip,
    kind=st.sampled_from((doubled_line, put_in, taken_out, cut_off)),
    where=_SITES,
    character=st.sampled_from([*"\t :-[]{}&*!|>'\"%@`#,?\n\0é0", "*a", "&a ", "<<: ", "---\n", "\ufeff", "!!set "]),
)


@dataclass(frozen=True)
class Case:
    """A configuration file, wrong, and what stands behind it on the command line.

    Attributes:
        file: which experiment, modulo their number.
        mutations: of its tree.
        slips: of its text.
        overrides: (site, value) pairs, as ``--KEY VALUE``.
    """

    file: int
    mutations: list[Mutation]
    slips: list[Slip]
    overrides: list[tuple[int, Any]]

    def text(self, tree: Any) -> str:
        """The file."""
        tree = copy.deepcopy(tree)
        for mutation in self.mutations:
            mutation.apply(tree)
        text = yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)
        for slip in self.slips:
            text = slip.kind(text, slip) if text else text
        return text

    def words(self, tree: Any) -> list[str]:
        """The command line's options."""
        words: list[str] = []
        places = [path for path in sites(tree) if all(isinstance(key, str) for key in path)]
        for site, value in self.overrides:
            path = [key for key in places[site % len(places)] if key != "init_args" or site % 2]
            shown = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("\n...\n").strip()
            words.append(f"--{'.'.join(path)}={shown}")
        return words


cases = st.builds(
    Case,
    file=st.integers(0, 99),
    mutations=st.lists(mutations, max_size=3),
    slips=st.one_of(st.just([]), st.just([]), st.just([]), st.lists(slips, max_size=2)),
    overrides=st.one_of(st.just([]), st.just([]), st.lists(st.tuples(_SITES, st.sampled_from(VALUES)), max_size=2)),
)
