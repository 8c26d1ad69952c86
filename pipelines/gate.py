"""Checks the results of the last `dvc repro` against `report.gates` of params.yaml, for CI.

Reads files only; `dvc status` shows whether they are up to date.
"""

import sys
from collections.abc import Sequence

from evaluation.comparing.leaderboard import Row
from evaluation.comparing.value_text import rounded
from pipelines.comparing.gates import GateResult, check_gates
from pipelines.comparing.text_table import text_table
from pipelines.reporting import inputs
from pipelines.settings import command_line, params
from pipelines.settings.errors import UserError, exit_on_user_error


def _as_text(results: Sequence[GateResult]) -> str:
    """A line per bound, then the number of broken gates."""
    rows = [
        [
            result.metric,
            result.model,
            result.of,
            rounded(result.value),
            result.relation,
            "passed" if result.passed else f"BROKEN {result.reason}".rstrip(),
        ]
        for result in results
    ]
    lines = text_table(["gate", "model", "of seeds", "value", "bound", "result"], rows, right=(3,))
    broken = sum(not result.passed for result in results)
    return "\n".join([*lines, "", f"{broken} of {len(results)} gates broken"])


@exit_on_user_error
def main() -> None:
    """Prints all gates of params.yaml; exit code 1 if one is broken."""
    command_line.parser("gate", __doc__).parse_args()
    settings = params.load()
    if not settings.report.gates:
        print("params.yaml: report.gates is empty: there is no gate to check")
        return
    rows: dict[str, Row | str] = {}  # the reason where files are missing or of other seeds
    for name in settings.trained:
        try:
            rows[name] = inputs.read_row(name, settings.seeds)
        except UserError as error:
            rows[name] = str(error)
    board = inputs.board(row for row in rows.values() if isinstance(row, Row))
    results = check_gates(settings.report, rows, board.champion(settings.report.rank_by))
    print(_as_text(results))
    if not all(result.passed for result in results):
        sys.exit(1)


if __name__ == "__main__":
    main()
