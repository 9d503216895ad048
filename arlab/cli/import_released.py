"""``arlab import``: a run of a published checkpoint, on which every other command works."""

from __future__ import annotations

import argparse
import inspect
import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from arlab.cli.image_size import sides
from arlab.cli.parser import Parser
from arlab.runs.files import refuse_unwritable

if TYPE_CHECKING:
    from arlab.checkpoints.family import Family, GeneratorFamily
    from arlab.checkpoints.importing import Found
    from arlab.module import Module
    from arlab.tokenizers.tokenizer import Tokenizer

    F = TypeVar("F", bound=Family)

_EXAMPLES = """\
  arlab import c2i_B_256.pt vq_ds16_c2i.pt --family llamagen --preset b_256 --out released/llamagen_b
  arlab import MY.safetensors vq_ds16_c2i.pt --family llamagen --set num_heads=4 grid=[16,16] --out released/mine
  arlab import vq_ds16_c2i.pt --family llamagen --out released/llamagen_vq16
  arlab sample released/llamagen_b --guidance_scale 4 --classes 207 360 --num_images 8"""

_UNKNOWN = "unknown"


def parser() -> Parser:
    """The options of the command."""
    options = Parser(
        command="import",
        description="Make a run of published weights: a generator's file and its tokenizer's, or a tokenizer's alone.\n"
        "What the tensors do not tell is asked for. Nothing that could run is read from the files.",
        examples=_EXAMPLES,
    )
    options.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help=".safetensors, or PyTorch's .pt, .pth, ..."
    )
    options.add_argument(
        "--family",
        required=True,
        metavar="NAME",
        help="whose weights they are: llamagen, var, ... (arlab list families)",
    )
    options.add_argument("--preset", metavar="NAME", help="a released size; it sets what the tensors do not tell")
    options.add_argument(
        "--set",
        dest="settings",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="what the tensors do not tell, option by option; over the preset's",
    )
    options.add_argument(
        "--tokenizer", metavar="RUN", help="the generator's tokenizer, in place of its file: a run or an export"
    )
    options.add_argument(
        "--images", type=Path, metavar="FOLDER", help="the images it is measured and trained on, a folder per class"
    )
    options.add_argument(
        "--classes", type=Path, metavar="FILE", help="names of the classes, one a line (their numbers)"
    )
    options.add_argument(
        "--image_size",
        type=int,
        nargs="+",
        metavar="N",
        help="pixels (height, width) of a tokenizer alone (256)",
    )
    options.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="a new or empty folder")
    return options


def main(argv: list[str]) -> int:
    """Run the command."""
    options = parser().read(argv)
    refuse_unwritable("out", options.out)

    from arlab.checkpoints.importing import import_released, recognise, recognised
    from arlab.checkpoints.writing import write_run
    from arlab.cli.credits import credits
    from arlab.cli.quiet import quiet
    from arlab.discovery import discover
    from arlab.runs.export import refuse_taken
    from arlab.runs.resolve import load_tokenizer
    from arlab.tokenizers.tokenizer import Tokenizer as AnyTokenizer

    quiet()
    refuse_taken(options.out)
    names, source = _classes(options)
    discover()
    family, *tokenizers = _families(options)
    generator, tokenizer = _roles(options, [recognise(path, [family, *tokenizers]) for path in options.files])
    if tokenizer is None and options.tokenizer is None and generator is not None:
        # Files that trainers wrote may hold both.
        tokenizer = recognised(generator.path, tokenizers)
    made_by: Found | Tokenizer | None = tokenizer
    if options.tokenizer is not None:
        made_by = load_tokenizer(options.tokenizer, AnyTokenizer)
    if made_by is None:
        kinds = " or ".join(type(each).__name__ for each in tokenizers)
        raise ValueError(
            f"files: {type(family).__name__} needs its tokenizer: name the file of a {kinds}, too, or --tokenizer RUN"
        )
    size = _image_size(options, generator)
    try:
        model = import_released(generator, made_by, class_names=names, source=source, image_size=size)
    except ValueError as error:
        raise ValueError(f"{error}{_doubt(options, family, str(error))}") from error
    _refuse_other_size(options, family, model)
    told = credits(generator, options.preset, options.tokenizer if tokenizer is None else tokenizer)
    folder = write_run(model, options.out, images=options.images, told=told)
    _say(model, folder, [each for each in (generator, tokenizer) if each is not None])
    return 0


def _families(options: argparse.Namespace) -> list[Family]:
    """The family that is asked for and those of its tokenizers, with their settings.

    Raises:
        ValueError: there is no such family, preset or setting.
    """
    from arlab.checkpoints.importing import families

    known = families()
    if options.family.lower() not in known:
        raise ValueError(f"family: no family is called {options.family!r}; there are: {', '.join(known)}")
    wanted = known[options.family.lower()]
    kinds: list[type[Family]] = [wanted, *wanted.tokenizers]
    preset, keys = _preset(wanted, options.preset), [word.partition("=")[0] for word in options.settings]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise ValueError(f"set: {twice} is given {keys.count(twice)} times; give it once")
    its = set(inspect.signature(wanted).parameters)
    if options.tokenizer and (other := next((key for key in keys if key not in its and key in _settings(kinds)), None)):
        raise ValueError(f"set: {other} is an option of its tokenizer, which --tokenizer brings; leave it out")
    words = [*preset, *options.settings]
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals:
            raise ValueError(f"set: expected KEY=VALUE, got {word!r}")
        if not any(key in inspect.signature(kind).parameters for kind in kinds):
            takes = ", ".join(sorted(_settings(kinds)))
            raise ValueError(f"set: {wanted.__name__} has no setting {key!r}; it has: {takes or 'none'}")
    return [_built(kind, words) for kind in kinds]


def _settings(kinds: Sequence[type[Family]]) -> set[str]:
    return {name for kind in kinds for name in inspect.signature(kind).parameters}


def _preset(family: type[GeneratorFamily], name: str | None) -> list[str]:
    if name is None:
        return []
    if name not in family.presets:
        raise ValueError(f"preset: {family.__name__} has no {name!r}; it has: {', '.join(family.presets) or 'none'}")
    return [f"{key}={json.dumps(value)}" for key, value in family.presets[name].items()]


def _doubt(options: argparse.Namespace, family: Family, said: str) -> str:
    """Where an option of the preset does not fit, the preset of another size is the likeliest cause."""
    keys = family.presets[options.preset] if options.preset else ()
    words = set(re.findall(r"\w+", said.partition(": ")[2]))
    return f"; is --preset {options.preset} of this file's size?" if words & set(keys) else ""


def _refuse_other_size(options: argparse.Namespace, family: Family, model: Module) -> None:
    """See that the preset is of the file's size: another may fit, and be wrong.

    Raises:
        ValueError: it is another's.
    """
    from arlab.generators.generator import Generator

    wanted = family.widths.get(options.preset or "")
    if isinstance(model, Generator) and wanted not in (None, model.backbone.width):
        sizes = ", ".join(f"{name} {width}" for name, width in family.widths.items())
        raise ValueError(
            f"preset: {options.preset} is of width {wanted}, the file of {model.backbone.width}; of the presets are "
            f"{sizes}; for other sizes give --set in place of a preset"
        )


def _built(kind: type[F], words: Sequence[str]) -> F:
    """A family with those settings that are its own."""
    from arlab.cli.schema import options, resolve
    from arlab.configurable import from_spec

    hints, given = options(kind), dict[str, object]()
    for word in words:
        key, _, value = word.partition("=")
        if key in hints:
            try:
                given[key] = resolve(_read(value, key), hints[key], f"set: {key}")
            except ValueError as error:
                raise ValueError(f"{error}{_meaning(kind, key)}") from error
    return from_spec({"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": given}, kind)


def _meaning(kind: type[Family], key: str) -> str:
    """What an option is, and how it is written where that is a list."""
    from arlab.cli.catalogue import Component

    option = next(each for each in Component(kind).options if each.name == key)
    return f" ({option.help.rstrip('.')}){f'; a list is written {key}=[A,B]' if 'list' in option.type else ''}"


def _read(value: str, key: str) -> object:
    import yaml

    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"set: {key}: not a value of YAML, got {value[:80]!r}") from error


def _roles(options: argparse.Namespace, found: Sequence[Found]) -> tuple[Found | None, Found | None]:
    """The file of the generator and that of the tokenizer.

    Raises:
        ValueError: there are two of a kind, or a tokenizer is named twice.
    """
    from arlab.checkpoints.family import GeneratorFamily as Generators

    generators = [each for each in found if isinstance(each.family, Generators)]
    tokenizers = [each for each in found if each not in generators]
    for of_kind, kind in ((generators, "generator"), (tokenizers, "tokenizer")):
        if len(of_kind) > 1:
            raise ValueError(f"files: {of_kind[0].path} and {of_kind[1].path} are both of a {kind}; name one")
    if options.tokenizer is not None and (tokenizers or not generators):
        raise ValueError("tokenizer: named beside its file; give one of the two, with the file of a generator")
    return next(iter(generators), None), next(iter(tokenizers), None)


def _classes(options: argparse.Namespace) -> tuple[tuple[str, ...] | None, str]:
    """Names of the classes, where they are known, and of the image set."""
    if options.classes is not None and options.images is not None:
        raise ValueError("classes: named beside images, whose folders name them; give one of the two")
    if options.classes is not None:
        try:
            lines = options.classes.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"classes: {options.classes}: not a readable text file") from error
        names = tuple(line.strip() for line in lines if line.strip())
        if len(set(names)) != len(names):
            raise ValueError(f"classes: {options.classes} holds a name twice")
        return names, _UNKNOWN
    if options.images is not None:
        from arlab.data.folder import folder_facts

        facts = folder_facts(options.images)
        return facts.class_names, facts.source
    return None, _UNKNOWN


def _image_size(options: argparse.Namespace, generator: Found | None) -> tuple[int, int]:
    """Of a tokenizer's images."""
    from arlab.checkpoints.importing import IMAGE_SIZE

    given = options.image_size
    if given is None:
        return IMAGE_SIZE
    if generator is not None:
        raise ValueError("image_size: is told by the generator's tokens; leave it out")
    return sides(given)


def _say(model: Module, folder: Path, found: Sequence[Found]) -> None:
    for each in found:
        where = f", entry {each.entry}" if each.entry else ""
        print(f"{each.path}: {type(each.family).__name__}{where}, {len(each.tensors)} tensors")
    count = sum(weight.numel() for weight in model.parameters()) / 1e6
    parts = ""
    from arlab.generators.generator import Generator

    if isinstance(model, Generator):
        kinds = (model.ordering, model.backbone, model.head, model.tokenizer.module)
        parts = f": {', '.join(type(each).__name__ for each in kinds)}"
    print(f"{folder}  {type(model).__name__} of {count:.1f} M parameters{parts}")
    if parts:
        print(f"fine-tune: arlab fit --config {shlex.quote(str(folder / 'config.yaml'))} --data.root FOLDER")
