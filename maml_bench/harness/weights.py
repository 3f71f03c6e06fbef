"""Trained weights as safetensors files: what a run leaves beside its record, and what ``evaluate`` reads.

A file holds the meta-parameters of one setup by their names, see docs/weights.md. Below a results folder they lie at
``weights/<tasks>/<setup>/<name of the record>.safetensors``, the last ones, and ``...-best1`` to ``-best5`` for those
that validated best.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open

from maml_bench.checked import plain
from maml_bench.checksum import BLANK, is_sealed, seal
from maml_bench.classification import ImageClassification
from maml_bench.errors import MamlBenchError, nearest, shortened
from maml_bench.files import atomic_write, read_bytes
from maml_bench.harness.recipe import Recipe
from maml_bench.harness.run_state import KEEP, RunState
from maml_bench.record import Record
from maml_bench.types import Family, Params

FORMAT_VERSION = 2
"""Files have a checksum from version 2 on."""
CHECKSUM = "maml_bench_sha256"
"""The key of the header whose value is the SHA-256 of the whole file, taken with zeros in its place."""
_CONVERT = (
    "weights {path} are a file of torch.save, which can hold anything; convert the tensors by their names in Python: "
    "import torch, safetensors.torch; state = torch.load('{path}', weights_only=True); "
    "safetensors.torch.save_file({{name: p.contiguous().clone() for name, p in state.items()}}, '{new}')"
)


LEARNER = "learner"
"""The key of the header that says what the weights are of, see `learner_table`."""


@dataclass(frozen=True)
class Weights:
    """One file: its path, the SHA-256 of its bytes, its header and its tensors."""

    path: Path
    sha256: str
    header: dict[str, str]
    tensors: Params

    def fit(self, expected: Params, what: str) -> Params:
        """The tensors in the order, precision and place of ``expected``; ``what`` it is that expects them.

        Raises:
            MamlBenchError: names the first tensor that is missing, has another shape, holds no real numbers or some
                that are not finite, or is not expected.
        """
        found = {}
        for name, p in expected.items():
            if name not in self.tensors:
                others = self.tensors.keys() - expected.keys()
                raise MamlBenchError(f"weights {self.path} lack the tensor {name!r} of {what}{nearest(name, others)}")
            tensor = self.tensors[name]
            if tensor.shape != p.shape:
                shapes = f"{list(tensor.shape)}, but {what} needs {list(p.shape)}"
                raise MamlBenchError(f"weights {self.path}: the tensor {name!r} has the shape {shapes}")
            if not tensor.is_floating_point():
                kind = str(tensor.dtype).removeprefix("torch.")
                raise MamlBenchError(f"weights {self.path}: the tensor {name!r} holds {kind}, not real numbers")
            found[name] = tensor.to(p)
            if lost := int((~found[name].isfinite()).sum()):
                raise MamlBenchError(
                    f"weights {self.path}: the tensor {name!r} holds {lost:,} values that are not finite, so there is "
                    "nothing to test"
                )
        for name in self.tensors:
            if name not in expected:
                raise MamlBenchError(
                    f"weights {self.path} have a tensor {name!r} that {what} does not have{nearest(name, expected)}"
                )
        return found


def place(results: Path, record: Path, rank: int = 0) -> Path:
    """Where the weights of the record at ``record`` (below ``results``) belong: the last, or those ``rank`` best."""
    best = f"-best{rank}" if rank else ""
    return results / Path("weights", *record.parts[1:-1], f"{record.stem}{best}.safetensors")


def save(path: Path, params: Params, header: Mapping[str, Any]) -> None:
    """Write ``params``, whole or not at all, with ``header`` as text. Equal content gives equal bytes."""
    tensors = {name: p.detach().cpu().contiguous().clone() for name, p in params.items()}
    words = {key: str(value) for key, value in header.items()}
    about = {"format_version": str(FORMAT_VERSION), CHECKSUM: BLANK.decode(), **words}
    atomic_write(path, seal(_in_order(safetensors.torch.save(tensors, about))))


def _in_order(content: bytes) -> bytes:
    """A safetensors file with sorted keys in its header. The library writes those of the metadata in random order."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:start]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[start:]


def load(path: Path) -> Weights:
    """Read one file.

    Raises:
        MamlBenchError: it is missing, no safetensors file, of a newer format, or differs from its checksum. A file of
            another program, or of version 1 of the format, has none.
    """
    try:
        content = read_bytes(path)
        sha256 = hashlib.sha256(content).hexdigest()
        checksum = _checksum(content)
        if checksum is not None and not is_sealed(content, checksum):
            raise MamlBenchError(f"weights {path} are damaged: they differ from their checksum")
        with safe_open(path, framework="pt") as file:
            header = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    except OSError as error:
        raise MamlBenchError(f"weights {path} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        if content.startswith((b"PK\x03\x04", b"\x80")):  # an archive or a pickle
            raise MamlBenchError(_CONVERT.format(path=path, new=path.with_suffix(".safetensors"))) from error
        raise MamlBenchError(f"weights {path} are not a whole safetensors file: {error}") from error
    version = header.get("format_version", "1")
    if version not in [str(known) for known in range(1, FORMAT_VERSION + 1)]:
        raise MamlBenchError(f"weights {path} have format version {shortened(version)}, newer than {FORMAT_VERSION}")
    header.pop(CHECKSUM, None)
    if checksum is None and int(version) != 1:
        raise MamlBenchError(f"weights {path} are damaged: they lack their checksum")
    return Weights(path, sha256, header, tensors)


def _checksum(content: bytes) -> bytes | None:
    """The checksum in the header of a safetensors file, which begins with the header's length."""
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    found = re.search(rf'"{CHECKSUM}":"([0-9a-f]{{64}})"'.encode(), header)
    return found[1] if found else None


def learner_table(recipe: Recipe, tasks: Family) -> dict[str, Any]:
    """What must be known to build the learner that weights belong to, and to adapt it, as JSON-ready data.

    ``steps`` is the number of inner steps of the validation, and so those that the weights are good at. ``pictures``
    says how pictures are prepared, and the number of classes that the network tells apart in training.
    """
    content, shape = recipe.plain(), recipe.train.shape
    table: dict[str, Any] = {
        **{part: content[part] for part in ("tasks", "network", "setup", "inner") if part in content},
        "train": {"way": shape.way, "shot": shape.shot, "query": shape.query}, "steps": recipe.validation.inner_steps,
    }  # fmt: skip
    if isinstance(tasks, ImageClassification) and tasks.preparation is not None:
        table["pictures"] = {"how": plain(tasks.preparation), "classes": tasks.outputs(shape)}
    return table


def keep(training: RunState, results: Path, record: Path) -> None:
    """Write the last meta-parameters of a run and those that validated best, beside its record at ``record``."""
    recipe, curve = training.recipe, training.curve
    about = {
        "recipe": recipe.id,
        "recipe_id": recipe.recipe_id,
        "preset": recipe.preset,
        "setup": recipe.setup["name"],
        "seed": training.seed,
        LEARNER: json.dumps(learner_table(recipe, training.tasks), sort_keys=True),
    }
    validated = curve["validation"][-1] if curve["step"] and curve["step"][-1] == training.step else None
    header = about | {"step": training.step, "validation": "" if validated is None else validated}
    save(place(results, record), training.meta, header)
    for rank in range(1, KEEP + 1):
        path = place(results, record, rank)
        if rank > len(training.kept):
            path.unlink(missing_ok=True)
            continue
        mean, step, meta = training.kept[rank - 1]
        save(path, meta, about | {"step": step, "validation": mean})


def restore(training: RunState, results: Path, record: Record) -> bool:
    """Put the weights that ``record`` left into a run that has just begun; False where they are not all there."""
    validated = sum(
        1 for step, mean in zip(record.curve.step, record.curve.validation, strict=True) if step and mean is not None
    )
    what = f"{record.recipe['setup']['name']} on {record.recipe['id']}"
    kept = []
    for rank in range(min(validated, KEEP) + 1):
        path = place(results, record.relative_path, rank)
        if not path.exists():
            return False
        found = load(path)
        mine = (found.header.get("recipe_id"), found.header.get("seed")) == (record.recipe_id, str(record.seed))
        if not mine or (not rank and found.header.get("step") != str(record.outer_steps)):
            return False
        params = found.fit(training.meta, what)
        if rank:
            kept.append((float(found.header.get("validation", math.nan)), int(found.header["step"]), params))
        else:
            training.meta = params
    training.kept, training.step = kept, record.outer_steps
    return True
