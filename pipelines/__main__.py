"""The console script `genmodels`: lists the stages and commands, and runs them.

It imports nothing but what it runs, so that the list is there at once: what can be run is each
module of this folder that has a `main`, and its line is the first of its docstring.
"""

import ast
import difflib
import importlib
import sys
from pathlib import Path

from pipelines.settings.errors import exit_on_user_error

#: In the order of the pipeline.
STAGES = ("resolve", "prepare", "features", "references", "train", "evaluate", "report", "publish")

USAGE = """\
usage: genmodels COMMAND [ARGUMENT ...]

Trains, evaluates and compares small VAEs and GANs. `genmodels COMMAND --help` describes a command.
`dvc repro` runs the stages that are out of date; one that is run by hand runs in any case.
"""


def descriptions() -> dict[str, str]:
    """One line for each stage, in the order of the pipeline, and each command behind them."""
    lines = {}
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(part, ast.FunctionDef) and part.name == "main" for part in tree.body):
            line = (ast.get_docstring(tree) or "").split("\n")[0]
            lines[path.stem] = line.removeprefix(f"Stage `{path.stem}`: ").removesuffix(".")
    return {name: lines.pop(name) for name in STAGES} | lines


def listing(lines: dict[str, str]) -> str:
    """The text of `genmodels --help`."""
    width = max(map(len, lines))
    shown = {
        name: f"  {name:{width}}  {line[:1].upper()}{line[1:]}" for name, line in lines.items()
    }
    commands = [line for name, line in shown.items() if name not in STAGES]
    stages = [shown[name] for name in STAGES]
    return "\n".join([USAGE, "stages:", *stages, "", "commands:", *commands])


@exit_on_user_error
def main() -> None:
    """Runs `genmodels COMMAND [ARGUMENT ...]`."""
    name, *arguments = sys.argv[1:] or ["--help"]
    lines = descriptions()
    if name in {"-h", "--help"}:
        print(listing(lines))
        return
    if name not in lines:
        nearest = difflib.get_close_matches(name, lines, 1)
        hint = f", did you mean {nearest[0]!r}?" if nearest else ""
        print(
            f"error: {name}: no such command{hint}; `genmodels --help` lists them", file=sys.stderr
        )
        sys.exit(2)
    sys.argv = [f"genmodels {name}", *arguments]
    importlib.import_module(f"pipelines.{name}").main()


if __name__ == "__main__":
    main()
