from __future__ import annotations

from pathlib import Path

import pytest

from arlab.cli.arguments import parse
from arlab.cli.config import experiment_name, find, overlay, read
from arlab.cli.schema import resolve

REVERSED = {"ordering": {"class_path": "Raster", "init_args": {"reverse": True, "stride": 2}}}


def laid(*trees: dict[str, object]) -> tuple[dict[str, object], list[str]]:
    dropped: list[str] = []
    result: dict[str, object] = {}
    for tree in trees:
        result = overlay(result, tree, dropped)
    return result, dropped


@pytest.mark.parametrize(
    ("new", "ordering", "line"),
    [
        pytest.param(
            {"ordering": "Spiral"},
            "Spiral",
            "ordering: Raster -> Spiral; dropped: reverse=True, stride=2",
            id="another class by name",
        ),
        pytest.param(
            {"ordering": {"class_path": "plugins.Spiral", "init_args": {"stride": 3}}},
            {"class_path": "plugins.Spiral", "init_args": {"stride": 3}},
            "ordering: Raster -> Spiral; dropped: reverse=True, stride=2",
            id="another class with options of the same name",
        ),
        pytest.param({"ordering": "Raster"}, REVERSED["ordering"], None, id="the same class named again"),
        pytest.param(
            {"ordering": {"class_path": "arlab.orderings.raster.Raster", "init_args": {"stride": 3}}},
            {"class_path": "arlab.orderings.raster.Raster", "init_args": {"reverse": True, "stride": 3}},
            None,
            id="the same class by its full path",
        ),
        pytest.param(
            {"ordering": {"stride": 3}},
            {"class_path": "Raster", "init_args": {"reverse": True, "stride": 3}},
            None,
            id="options alone",
        ),
        pytest.param(
            {"ordering": {"init_args": {"stride": 3}}},
            {"class_path": "Raster", "init_args": {"reverse": True, "stride": 3}},
            None,
            id="init_args alone",
        ),
        pytest.param({"ordering": None}, None, "ordering: Raster -> None; dropped: reverse=True, stride=2", id="none"),
    ],
)
def test_a_class_starts_from_its_own_defaults(new: dict[str, object], ordering: object, line: str | None) -> None:
    tree, dropped = laid(REVERSED, new)
    assert tree == {"ordering": ordering}
    assert dropped == ([] if line is None else [line])


def test_options_beside_the_class_are_its_options() -> None:
    tree, _ = laid({"head": {"class_path": "Head", "a": 1, "init_args": {"b": 2}}})
    assert tree == {"head": {"class_path": "Head", "init_args": {"a": 1, "b": 2}}}


def test_a_class_under_the_options_of_none_is_that_class() -> None:
    whole = {"model": {"class_path": "A", "init_args": {"x": 1}}}
    nested = {"model": {"init_args": {"class_path": "A", "x": 1}}}
    assert overlay({}, nested, []) == overlay(overlay({}, nested, []), {"model": {"x": 1}}, []) == whole


def test_options_of_a_default_class_are_dropped_with_it() -> None:
    tree, dropped = laid({"optimizer": {"learning_rate": 0.1}}, {"optimizer": {"class_path": "Lion"}})
    assert tree == {"optimizer": {"class_path": "Lion", "init_args": {}}}
    assert dropped == ["optimizer: its default -> Lion; dropped: learning_rate=0.1"]


def test_lists_are_replaced_extended_and_adjusted_at_their_end() -> None:
    tree, dropped = laid({"callbacks": ["A", "B"]}, {"callbacks+": "C"}, {"callbacks": {"rows": 3}})
    assert tree == {"callbacks": ["A", "B", {"class_path": "C", "init_args": {"rows": 3}}]}
    assert laid({"callbacks": ["A", "B"]}, {"callbacks": ["C"]})[0] == {"callbacks": ["C"]}
    assert dropped == []


def test_a_list_is_extended_where_nothing_stands_yet() -> None:
    assert laid({"trainer": {"callbacks+": "A"}})[0] == {"trainer": {"callbacks": ["A"]}}
    assert laid({"trainer": None}, {"trainer": {"callbacks+": "A", "steps": 1}})[0] == {
        "trainer": {"callbacks": ["A"], "steps": 1}
    }


def test_bases_over_several_levels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "ground.yaml").write_text("model: {class_path: A, init_args: {x: 1, y: 1}}\nseed: 1\n")
    (tmp_path / "sub/middle.yaml").write_text("base: ../ground.yaml\nmodel: {x: 2}\n")
    (tmp_path / "here.yaml").write_text("seed: 3\n")
    (tmp_path / "sub/top.yaml").write_text("base: [middle.yaml, here.yaml]\nmodel: {class_path: B}\n")
    monkeypatch.chdir(tmp_path)
    dropped: list[str] = []
    tree = read("sub/top.yaml", dropped)
    assert tree == {"model": {"class_path": "B", "init_args": {}}, "seed": 3}
    assert dropped == ["model: A -> B; dropped: x=2, y=1"]


def test_a_file_may_not_include_itself(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("base: b.yaml\n")
    (tmp_path / "b.yaml").write_text("base: a.yaml\n")
    with pytest.raises(ValueError, match=r"base: a file includes itself: .*a\.yaml -> .*b\.yaml -> .*a\.yaml"):
        read(tmp_path / "a.yaml", [])


def test_the_command_line_is_laid_over_in_its_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("model: {class_path: A, init_args: {x: 1}}\ntrainer: {max_steps: 5}\n")
    two.write_text("trainer: {max_steps: 6}\n")
    words = [
        "--config",
        str(one),
        "--trainer.max_steps=7",
        "-c",
        str(two),
        "--model.x",
        "-2",
        "--model.deep.y",
        "[1, 2]",
    ]
    request = parse(["fit", *words, "--trainer.barebones", "--print_config"])
    assert request.tree == {
        "model": {"class_path": "A", "init_args": {"x": "-2", "deep": {"y": [1, 2]}}},
        "trainer": {"max_steps": 6, "barebones": "true"},
    }
    assert request.flags == {"print_config"}
    assert request.name == "one"


def test_paths_are_found_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "repo/experiments/fashion/tokenizers").mkdir(parents=True)
    wanted = tmp_path / "repo/experiments/fashion/tokenizers/vq.yaml"
    wanted.touch()
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    name = "experiments/fashion/tokenizers/vq.yaml"
    assert find(name, [Path("../repo/experiments/fashion")]) == wanted
    assert find(name, [Path()]) is None
    monkeypatch.chdir(tmp_path / "repo")
    assert find(name, []) == Path(name)


def test_an_experiment_found_elsewhere_keeps_the_name_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = "experiments/digits/raster_pixels.yaml"
    request = parse(["fit", "--config", named])
    assert request.named == (named,)
    assert request.configs[0].is_absolute()
    assert request.name == "digits/raster_pixels"


def test_an_experiment_is_called_as_its_file() -> None:
    assert experiment_name([Path("/home/me/arlab/experiments/fashion/tokenizers/vq.yaml")]) == "fashion/tokenizers/vq"
    assert experiment_name([Path("mine/test.yaml"), Path("experiments/overlays/flow.yaml")]) == "test"
    assert experiment_name([]) is None


def test_a_whole_number_stays_one_whatever_was_asked_before() -> None:
    # The two annotations are equal, and the parser is kept.
    for hint in (float | int | None, int | float | None):
        assert type(resolve(2, hint, "limit")) is int
        assert type(resolve(0.5, hint, "limit")) is float
