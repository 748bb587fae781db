"""The command line: watch a sign-in, start and finish real ones, or serve the stand-in."""

import argparse
import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from descope_native import DescopeNativeError
from descope_native._cli.arguments import make_parser
from descope_native._cli.calls import finish, start
from descope_native._cli.output import (
    BAD_INPUT,
    FAILED,
    INTERRUPTED,
    complain,
    exit_code,
    flush,
    print_failure,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see ``descope-native --help``."""
    code = 0
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(errors="backslashreplace")  # what a locale has no letters for is no reason to fail
    try:
        options = _parse(arguments)
        try:
            code = options.run(options) if options.run else _help()
        except DescopeNativeError as error:
            code = exit_code(error)
            print_failure(error, as_json=options.json, of_start=options.run is start)
        flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        return code
    except OSError as error:
        with contextlib.suppress(OSError):
            complain(f"descope-native: {error.strerror}")
        return code or FAILED
    finally:
        _discard_unwritable(sys.stdout)
        _discard_unwritable(sys.stderr)
    return code


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        hint = "; a code or id token is read from standard input" if options.run is finish else ""
        parser.error(f"unknown argument{hint}. See --help")
    return options


def _help() -> int:
    make_parser().print_help()
    return BAD_INPUT


def _discard_unwritable(out: TextIO | None) -> None:
    """The interpreter flushes once more at exit, and ends with 120 where that fails."""
    if out is not None:
        try:
            out.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())


if __name__ == "__main__":
    sys.exit(main())
