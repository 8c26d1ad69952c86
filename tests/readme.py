"""The generated part of the README: `python -m tests.readme` draws the pipeline into it."""

import subprocess
import sys

from tests.closure import ROOT

README = ROOT / "README.md"
BEGIN, END = "<!-- dag: made by `make dag` -->", "<!-- end of dag -->"


def graph() -> str:
    """The pipeline as DVC sees it, one node a stage group, in Mermaid's language."""
    # Of dvc.yaml alone: the studies are outside the pipeline.
    command = [sys.executable, "-m", "dvc", "dag", "dvc.yaml"]
    command += ["--md", "--collapse-foreach-matrix"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def drawn(text: str, dag: str) -> str:
    """The README's text with the graph in its place."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{dag}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(drawn(README.read_text(), graph()))
