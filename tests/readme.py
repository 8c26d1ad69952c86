"""The generated part of the README: `python -m tests.readme` writes the graph of the pipeline."""

import subprocess
import sys

from pipelines.settings.paths import ROOT

README = ROOT / "README.md"
BEGIN, END = "<!-- dag: made by `make dag` -->", "<!-- end of dag -->"


def graph() -> str:
    """The pipeline's graph from DVC in Mermaid's language, one node per stage group."""
    # Of dvc.yaml alone: the studies are outside the pipeline.
    command = [sys.executable, "-m", "dvc", "dag", "dvc.yaml"]
    command += ["--md", "--collapse-foreach-matrix"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def drawn(text: str, dag: str) -> str:
    """The text of the README with the current graph."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{dag}\n{END}{after}"


if __name__ == "__main__":
    README.write_text(drawn(README.read_text(), graph()))
