"""Rival libraries on the same meta-step: one adapter per library, run by ``benchmarks/race.py``.

Two halves that meet in files and processes only:

- the driver's half runs beside maml_bench: ``catalogue.py`` (who races), ``environments.py`` (where they run),
  ``processes.py`` (one adapter as a process), ``checks.py`` (same gradient?), ``arithmetic.py`` (operations of a step),
  ``rows.py`` (what is written down);
- the adapters' half runs as scripts in each peer's own environment, without maml_bench: ``base.py``,
  ``torch_network.py``, ``*_peer.py``, and ``ours.py``, which alone imports maml_bench.

``benches.py`` is read by both and needs numpy alone. A new peer is one adapter and one line in ``catalogue.py``.
"""
