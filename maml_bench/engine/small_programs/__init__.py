"""Recordings of small networks as one C++ function.

A meta-step of a network with a few thousand parameters is some hundred operations of one microsecond each, so most of
its time goes to calls. Here the whole recording becomes one function, which the system's compiler builds once per
machine. ``lowering`` reads the recording: views become strides, elementwise operations become terms that are inlined
where they are used, and what is left is a list of ``steps``, each a few nested loops. ``program`` builds and calls it.
"""
