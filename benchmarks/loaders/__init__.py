"""Episode loaders of rival libraries on the same images: one adapter per library, run by ``race.py`` beside it.

``common.py`` and the ``*_loader.py`` run as scripts in each library's own environment, down to Python 3.9. Processes,
environments and ratios are those of ``benchmarks/peers``. A new library is one adapter and one line in ``race.py``.
"""
