"""The command line of every stage and command: one format of help and usage errors."""

import argparse
import contextlib
from collections.abc import Callable
from typing import NoReturn

#: The help of an argument.
MODEL = "model, a key of models: in params.yaml"


class Parser(argparse.ArgumentParser):
    """A parser that prints a usage error as two lines: the usage and the error."""

    def error(self, message: str) -> NoReturn:
        """Prints a usage error and ends the command with exit code 2."""
        usage = " ".join(self.format_usage().split())
        self.exit(2, f"{usage}\nerror: {message}\n")


def parser(name: str, description: str | None, examples: str = "") -> Parser:
    """Creates the parser of the stage or command `name`; options have no abbreviations.

    The description is the docstring of the module; the examples stand below the options.
    """
    return Parser(
        prog=f"genmodels {name}",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """The type of an argument: a whole number from `minimum` to `maximum` (default: no limit)."""
    allowed = f"{minimum} or more" if maximum is None else f"{minimum} to {maximum:,}"

    def convert(text: str) -> int:
        with contextlib.suppress(ValueError):
            value = int(text)
            if minimum <= value and (maximum is None or value <= maximum):
                return value
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, {allowed}")

    return convert
