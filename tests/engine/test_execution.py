"""How a schedule runs a network on a device, and what it says of that in the record."""

import sys
from types import SimpleNamespace

import pytest
import torch

from maml_bench import native_code
from maml_bench.engine import kernels
from maml_bench.engine.meta_step import MetaStep
from maml_bench.setups.maml import MAML
from tests.engine.test_meta_step import COMPILER, gradients_agree, problem


def description(network: str, schedule: str, device: str = "cpu") -> str:
    return MetaStep(
        MAML(), problem(network, dtype=torch.float32)[0], schedule=schedule, device=device
    ).execution.description


@pytest.mark.skipif(not COMPILER, reason="the kernels need a C++ compiler: install g++")
def test_words_say_what_runs() -> None:
    assert description("strided", "traced") == "2 convolution blocks in kernels"
    assert description("users", "compiled") == "1 convolution block in kernels"
    assert (
        description("layers", "traced")
        == description("strided", "vmap")
        == description("layers", "traced", "cuda")
        == "torch operators"
    )


def test_on_a_gpu_words_say_how_kernels_round_or_that_there_is_no_triton(monkeypatch) -> None:
    monkeypatch.setattr(kernels, "gpu", SimpleNamespace(precision=lambda: "tf32"), raising=False)
    assert description("strided", "traced", "cuda") == "2 convolution blocks in kernels (tf32)"
    monkeypatch.delattr(kernels, "gpu")
    monkeypatch.setitem(sys.modules, "maml_bench.engine.kernels.gpu", None)
    assert description("strided", "compiled", "cuda") == "torch operators (no Triton for the kernels)"


def test_without_a_compiler_a_recording_has_torchs_operators_and_compiling_is_refused(monkeypatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    native_code.library.cache_clear()
    learner, episodes = problem("strided", dtype=torch.float64)
    assert (
        MetaStep(MAML(), learner, schedule="traced").execution.description
        == "torch operators (no C++ compiler for the kernels)"
    )
    gradients_agree(MAML(), learner, episodes, "traced", 1e-10)
    for network in ("strided", "layers"):
        with pytest.raises(native_code.NoCompiler, match=r"need.* a C\+\+ compiler"):
            MetaStep(MAML(), problem(network, dtype=torch.float64)[0], schedule="compiled")
