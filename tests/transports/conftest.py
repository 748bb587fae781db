"""Over what the tests of a real network run."""

import pytest
from kit.networks import NETWORKS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`network` is each transport that promises what the marks of a test say it needs."""
    if "network" in metafunc.fixturenames:
        needed = [name for mark in metafunc.definition.iter_markers("needs") for name in mark.args]
        chosen = [each for each in NETWORKS if all(getattr(each.promises, name) for name in needed)]
        metafunc.parametrize("network", chosen, ids=[network.name for network in chosen])
