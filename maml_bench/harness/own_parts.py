"""The parts of a recipe that are a user's own code, and what they change in it."""

from collections.abc import Iterator, Mapping
from typing import Any

from maml_bench import registry
from maml_bench.checked import plain
from maml_bench.errors import MamlBenchError, shortened
from maml_bench.harness.layers import as_setting


def put_own_code(content: dict[str, Any], tasks: Any, network: Any) -> tuple[str, ...]:
    """Put the family and the network that were asked for into ``content``; return what that changes, as settings."""
    named = content.get("tasks", {}).get("name")
    if isinstance(named, str) and named not in registry.task_names():
        content["tasks"] = {**content["tasks"], **registry.tasks_reference(named)}
    if not isinstance(content.get("network", ""), str):
        raise MamlBenchError(
            f"recipe {content.get('id')!r}: network is {shortened(content['network'])}, but must be a file, such as "
            "./net.py:Net"
        )
    if "network" in content:
        content["network"] = registry.network_reference(content["network"])
    changed: list[str] = []
    if tasks is not None:
        reference = registry.tasks_reference(tasks)
        if not isinstance(tasks, str) or reference["name"] != named:
            content |= {"tasks": {**registry.options_of(tasks), **reference}, "published": []}
            changed.append(as_setting("tasks", reference["name"]))
    if network is not None:
        content |= {"network": registry.network_reference(network), "published": []}
        changed.append(as_setting("network", content["network"]["name"]))
    return tuple(changed)


def is_of_user(content: Mapping[str, Any]) -> bool:
    """Whether the tables name a family or a network that is none of ours."""
    return "network" in content or content.get("tasks", {}).get("name") not in registry.task_names()


def unusual(options: Mapping[str, Any], of_recipe: Mapping[str, Any], defaults: Mapping[str, Any]) -> Iterator[str]:
    """The options of an instance of a setup that are neither the recipe's nor defaults, as settings."""
    for key, value in options.items():
        if value != plain(of_recipe.get(key, defaults.get(f"setup.{key}"))):
            yield as_setting(f"setup.{key}", value)
