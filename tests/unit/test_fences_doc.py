"""The examples in the docstrings do what they say."""

import doctest
import importlib
import pkgutil

import pytest

import hazfence_fences

MODULES = [m.name for m in pkgutil.walk_packages(hazfence_fences.__path__, "hazfence_fences.")]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    assert doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [t for name in MODULES for t in finder.find(importlib.import_module(name)) if t.examples]
    assert len(found) >= 4
