"""The files that recipes, and setups' words about them, stand in."""

import json
from dataclasses import fields
from typing import Any

import pytest

from maml_bench.errors import MamlBenchError
from maml_bench.harness import recipe_files
from maml_bench.harness.recipe import resolve
from maml_bench.harness.recipe_files import load_files
from tests.harness.test_recipe import table

PUBLISHED = {"way": 1, "shot": 5, "inner_steps": 1, "value": 0.67, "source": "B, Table 2"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of recipe files, replaced by an empty one."""
    monkeypatch.setattr(recipe_files.resources, "files", lambda package: tmp_path)
    load_files.cache_clear()
    yield tmp_path
    load_files.cache_clear()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[recipe]", "recipe file a.toml cannot be read: "),
        ("[other]", "recipe file a.toml cannot be read: it has no [[recipe]]"),
        ("[[recipe]]\ntitle = 'x'", "recipe file a.toml: id None is missing or stands twice"),
        ("[[recipe]]\nid = 3", "recipe file a.toml: id 3 is missing or stands twice"),
        ("[[recipe]]\nid = 'x'\n[[recipe]]\nid = 'x'", "recipe file a.toml: id 'x' is missing or stands twice"),
    ],
)
def test_a_bad_recipe_file_is_a_sentence(folder, text, sentence):
    (folder / "a.toml").write_text(text)
    with pytest.raises(MamlBenchError) as caught:
        load_files()
    assert str(caught.value).startswith(sentence)


def test_an_id_stands_once_over_all_files_and_other_files_are_passed_over(folder):
    (folder / "a.toml").write_text("[[recipe]]\nid = 'x'")
    (folder / "readme.txt").write_text("not TOML")
    assert load_files() == {"x": {"id": "x"}}
    (folder / "b.toml").write_text("[[recipe]]\nid = 'x'")
    load_files.cache_clear()
    with pytest.raises(MamlBenchError, match=r"b\.toml: id 'x'"):
        load_files()


def test_a_setup_brings_its_own_file_of_settings_and_published_numbers(folder):
    """They are laid over the recipe and what extends it, for that setup alone."""
    content = table("waves") | {"published": [{**PUBLISHED, "setup": "maml"}]}
    tables = {"waves": content, "more": {"id": "more", "extends": "waves"}}
    (folder / "a.toml").write_text("\n".join(f"[[recipe]]\n{_toml(t)}" for t in tables.values()))
    (folder / "setups").mkdir()
    numbers = 'published = [{ way = 1, shot = 5, inner_steps = 1, value = 0.25, source = "A, Table 1" }]'
    (folder / "setups" / "anil.toml").write_text(f"[waves]\ninner = {{ rate = 0.5 }}\n{numbers}")
    assert resolve("more", preset="quick", setup="anil").inner.rate == 0.5
    assert resolve("more", preset="quick", setup="maml").inner.rate != 0.5
    [row] = resolve("more", preset="quick", setup="anil").plain()["published"]
    assert row["value"] == 0.25
    [row] = resolve("more", preset="quick", setup="maml").plain()["published"]
    assert row["value"] == PUBLISHED["value"]


def test_the_file_of_a_setup_must_name_recipes(folder):
    (folder / "a.toml").write_text("[[recipe]]\nid = 'waves'")
    (folder / "setups").mkdir()
    (folder / "setups" / "anil.toml").write_text("[wave]")
    with pytest.raises(MamlBenchError, match=r"setups/anil\.toml: 'wave' is no recipe.*did you mean 'waves'"):
        load_files()


def _toml(content: dict[str, Any]) -> str:
    """Plain data as TOML, inline."""

    def inline(value: Any) -> str:
        if isinstance(value, dict):
            return "{ " + ", ".join(f"{key} = {inline(entry)}" for key, entry in value.items()) + " }"
        if isinstance(value, list):
            return "[" + ", ".join(map(inline, value)) + "]"
        return json.dumps(value)

    return "\n".join(f"{key} = {inline(value)}" for key, value in content.items())


KEYS = [f.name for f in fields(recipe_files._Table)]
WRONG = {"a number": "3", "a date": "1979-05-27", "a list": "[[1]]", "a list of tables": "[{a = 3}]"}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("key", KEYS)
def test_a_key_of_another_type_is_a_sentence_that_names_it(tmp_path, key, value):
    path = tmp_path / "own.toml"
    path.write_text(f"{key} = {value}\n")
    if (key, value) in {("published", "[{a = 3}]"), ("test", "[{a = 3}]")}:
        assert recipe_files.read_file(path)[key] == [{"a": 3}]
        return
    with pytest.raises(MamlBenchError, match=rf"own\.toml: {key}.* must be "):
        recipe_files.read_file(path)


@pytest.mark.parametrize(
    "content", [b"x = " + b"9" * 5000, b"x = " + b"[" * 5000, b"recipe = [3]", b"recipe = 3", b"\x00", b"\xff"]
)
def test_what_is_no_recipe_is_a_sentence(tmp_path, content):
    path = tmp_path / "own.toml"
    path.write_bytes(content)
    with pytest.raises(MamlBenchError, match=r"own\.toml (cannot be read|must have one)") as caught:
        recipe_files.read_file(path)
    assert len(str(caught.value)) < 500
