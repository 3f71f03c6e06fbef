"""``maml-bench list``: what there is to run."""

from typing import Any

from maml_bench.cli.terminal import AsJson, print_json, print_table


def list_(as_json: AsJson = False) -> None:
    """List the task distributions, setups, recipes and suites."""
    from maml_bench import registry, suites
    from maml_bench.harness.recipe import default_setups, presets_of, resolve
    from maml_bench.harness.recipe_files import load_files

    tasks = {name: registry.task_class(name) for name in registry.task_names()}
    setups = {name: registry.setup_class(name) for name in registry.setup_names()}
    recipes = []
    for name in load_files():
        presets = presets_of(name)
        recipe = resolve(name, preset=presets[-1])
        recipes.append(
            {
                "recipe": name,
                "tasks": recipe.tasks["name"],
                "title": recipe.title,
                "variant": recipe.variant,
                "presets": presets,
                "steps": {preset: resolve(name, preset=preset).outer.steps for preset in presets},
                "default_setups": default_setups(name),
            }
        )
    tables = []
    for name in suites.suite_names():
        one = suites.suite(name)
        presets = list(dict.fromkeys(part.preset for part in one.parts))
        tables.append({"suite": name, "title": one.title, "presets": ", ".join(presets)})
    if as_json:
        print_json(
            {
                "tasks": [{"tasks": n, "about": _first_line(c)} for n, c in tasks.items()],
                "setups": [{"setup": n, "citation": c.citation, "about": _first_line(c)} for n, c in setups.items()],
                "recipes": recipes,
                "suites": tables,
            }
        )
        return
    print_table("Task distributions", ["tasks", "about"], [[n, _first_line(c)] for n, c in tasks.items()])
    rows = [[n, c.citation, _first_line(c)] for n, c in setups.items()]
    print_table("Setups", ["setup", "source", "about"], rows)
    print_table(
        "Recipes (outer steps by preset)",
        ["recipe", "variant", "steps", "about"],
        [
            [r["recipe"], r["variant"], ", ".join(f"{p} {n:,}" for p, n in r["steps"].items()), r["title"]]
            for r in recipes
        ],
    )
    print_table("Suites", ["suite", "about", "presets"], [list(t.values()) for t in tables])


def _first_line(cls: Any) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]
