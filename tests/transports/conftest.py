"""Over what the tests of a real network run."""

import pytest
from kit.networks import NETWORKS


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`network` is each transport that promises what the marks of a test say it needs."""
    if "network" in metafunc.fixturenames:
        needed = {promise for mark in metafunc.definition.iter_markers("needs") for promise in mark.args}
        chosen = [network for network in NETWORKS if needed <= network.promises]
        metafunc.parametrize("network", chosen, ids=[network.name for network in chosen])
