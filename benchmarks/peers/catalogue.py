"""Who races, and the environment that each needs. A new peer is one adapter and one line here."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from .benches import GRADIENT, METHODS, METRIC, Bench

OURS, LOOP = "maml-bench", "loop"

_TORCH = version("torch").partition("+")[0]
"""The release that runs here, without the name of its build: pip finds the fitting one."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment: its interpreter (None is the running one), and what pip is asked for, call by call."""

    name: str
    installs: tuple[tuple[str, ...], ...]
    python: str | None = None
    why: str = ""


@dataclass(frozen=True)
class Peer:
    """One entrant. ``environment`` None is the running interpreter; ``module`` is what must be importable there.

    ``source`` is a source tree that comes first in the search path, for another version of maml-bench itself. It races
    on the benches of its ``methods``.
    """

    name: str
    library: str
    script: str
    module: str
    environment: Environment | None = None
    schedule: str | None = None
    source: Path | None = None
    methods: tuple[str, ...] = GRADIENT

    def races_on(self, bench: Bench) -> bool:
        """Whether it has the method of this bench."""
        return bench.method in self.methods


PYTHON39 = Environment(
    "python3.9",
    (
        ("torchmeta==1.8.0", "numpy<2"),
        # learn2learn's list of requirements pins what no longer builds, so what its MAML imports is named here.
        ("setuptools<66", "wheel", "cython<3", "gym==0.21.0", "scipy", "qpth"),
        ("--no-deps", "--no-build-isolation", "learn2learn==0.2.0"),
    ),
    python="python3.9",
    why="torchmeta 1.8.0 needs torch 1.9, which has no builds for a newer Python",
)
TORCH = Environment(
    "torch",
    (
        (f"torch=={_TORCH}", "numpy", "higher==0.2.1", "torchopt==0.7.3"),
        (f"torch=={_TORCH}", "torchvision", "easyfsl==1.5.0"),
    ),
)
JAX = Environment("jax", (("jax", "numpy"),))

PEERS = {
    peer.name: peer
    for peer in (
        Peer(OURS, OURS, "ours.py", "maml_bench", schedule="auto", methods=METHODS),
        Peer(LOOP, LOOP, "ours.py", "maml_bench", schedule="loop", methods=METHODS),
        Peer("torchmeta", "torchmeta", "torchmeta_peer.py", "torchmeta", PYTHON39),
        Peer(
            "learn2learn",
            "learn2learn",
            "learn2learn_peer.py",
            "learn2learn",
            PYTHON39,
            methods=(*GRADIENT, "protonet"),
        ),
        Peer("higher", "higher", "higher_peer.py", "higher", TORCH),
        Peer("torchopt", "torchopt", "torchopt_peer.py", "torchopt", TORCH),
        Peer("easyfsl", "easyfsl", "easyfsl_peer.py", "easyfsl", TORCH, methods=METRIC),
        Peer("torch", "plain torch", "torch_peer.py", "torch", TORCH, methods=("reptile",)),
        Peer("jax-vmap", "jax", "jax_peer.py", "jax", JAX, "jit(grad(vmap))"),
        Peer("jax-map", "jax", "jax_peer.py", "jax", JAX, "jit(grad(lax.map))"),
    )
}


def earlier(source: Path, commit: str) -> Peer:
    """maml-bench as it is in the source tree ``source``, which holds ``commit``."""
    script = source / "benchmarks" / "peers" / "ours.py"
    return Peer(
        f"{OURS}@{commit[:8]}", f"{OURS} {commit[:8]}", str(script), "maml_bench", None, "auto", source, METHODS
    )
