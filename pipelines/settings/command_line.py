"""The command line of every stage and command: one form of help, usage errors and program name."""

import argparse
from collections.abc import Callable
from typing import NoReturn

#: The help of an argument.
MODEL = "model, a key of models: in params.yaml"


class Parser(argparse.ArgumentParser):
    """A parser whose options are not abbreviated and whose errors are a usage and an error line."""

    def error(self, message: str) -> NoReturn:
        """Ends the command with exit code 2."""
        usage = " ".join(self.format_usage().split())
        self.exit(2, f"{usage}\nerror: {message}\n")


def parser(name: str, description: str | None, examples: str = "") -> Parser:
    """The parser of a stage or command, without any argument yet.

    Args:
        name: The module in `pipelines`, such as `sample`.
        description: What the command does and writes, such as the docstring of its module.
        examples: Text below the options.
    """
    return Parser(
        prog=f"genmodels {name}",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """The type of an argument: a whole number in a range."""
    allowed = f"{minimum} or more" if maximum is None else f"{minimum} to {maximum:,}"

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < minimum or (maximum is not None and value > maximum):
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, {allowed}")
        return value

    return convert
