"""Hostile trials of the package against arithmetic of its own: ``python -m tests.campaign``.

A campaign is a module of this folder with

- ``TRIALS``, how many a full run has,
- ``trial(seed, number) -> Report``, which draws everything from these two numbers, and
- perhaps ``verdict(figures) -> list[str]``: what is wrong that only all trials together can show.

The command does the rest: processes, progress, the sum, single trials again.
"""
