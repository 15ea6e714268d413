"""For every test and every example: the same seed, and names that examples in docstrings use without an import."""

import numpy as np
import pytest
import torch

import influent


@pytest.fixture(autouse=True)
def seeded_and_named(doctest_namespace):
    torch.manual_seed(0)
    # `load` is also a name of the zoo's.
    names = [name for name in influent.__all__ if name != "load"]
    doctest_namespace.update({name: getattr(influent, name) for name in names})
    doctest_namespace.update(torch=torch, nn=torch.nn, np=np)
