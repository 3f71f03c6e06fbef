"""``python -m maml_bench`` is the command ``maml-bench``."""

from maml_bench.cli import main

main()
