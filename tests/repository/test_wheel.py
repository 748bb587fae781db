"""What an installed distribution brings with it."""

import os
import sys
from importlib import metadata
from importlib.resources import files
from pathlib import Path

import pytest

import descope_native

pytestmark = pytest.mark.skipif(
    "NOX_CURRENT_SESSION" not in os.environ, reason="only nox promises an installed wheel"
)


def test_what_is_tested_is_the_installed_wheel() -> None:
    """The tree is out of reach, so nothing passes that was left out of the wheel."""
    assert Path(descope_native.__file__).is_relative_to(sys.prefix)


def test_the_distribution_has_the_version_that_the_package_says() -> None:
    """What pip shows is what the code tells."""
    assert metadata.version("descope_native") == descope_native.__version__


def test_the_annotations_are_for_type_checkers_of_users_too() -> None:
    """PEP 561: without this marker they are all ignored."""
    assert files("descope_native").joinpath("py.typed").is_file()


def test_the_command_is_installed_under_its_name() -> None:
    """`descope-native` runs what `python -m descope_native` runs."""
    (command,) = metadata.entry_points(group="console_scripts", name="descope-native")
    assert command.value == "descope_native.__main__:main"
