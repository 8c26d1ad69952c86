"""Holds the results of the last `dvc repro` against `report.gates`: for CI.

Reads files only; whether they are up to date is told by `dvc status`.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence

from evaluation.comparing import leaderboard as comparison
from evaluation.comparing.leaderboard import MISSING, Row
from pipelines.comparing.gates import Outcome, outcomes
from pipelines.comparing.text_table import text_table
from pipelines.reporting import inputs
from pipelines.settings import params
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.params import Params


def read(settings: Params) -> dict[str, Row | str]:
    """The selected models; of one whose files are missing or of other seeds the reason."""
    rows: dict[str, Row | str] = {}
    for name in settings.trained:
        try:
            rows[name] = inputs.read_row(name, settings.seeds)
        except UserError as error:
            rows[name] = str(error)
    return rows


def champion(rows: Mapping[str, Row | str], rank_by: str) -> str | None:
    """The best model by `rank_by`; None where no model has a value of it.

    Raises:
        UserError: Values are not comparable.
    """
    try:
        board = comparison.leaderboard([r for r in rows.values() if isinstance(r, Row)], [])
    except ValueError as error:
        raise UserError(f"{error}; `dvc repro` makes them anew") from None
    return board.champion(rank_by)


def as_text(found: Sequence[Outcome]) -> str:
    """A line for each bound, then how many are broken."""
    lines = text_table(
        ["gate", "model", "of seeds", "value", "bound", "result"],
        [
            [
                outcome.metric,
                outcome.model,
                outcome.of,
                MISSING if outcome.value is None else f"{outcome.value:.4g}",
                outcome.relation,
                "passed" if outcome.passed else f"BROKEN {outcome.reason}".rstrip(),
            ]
            for outcome in found
        ],
        right=(3,),
    )
    broken = sum(not outcome.passed for outcome in found)
    return "\n".join([*lines, "", f"{broken} of {len(found)} gates broken"])


@exit_on_user_error
def main() -> None:
    """Prints all gates of params.yaml; exit code 1 where one is broken."""
    argparse.ArgumentParser(prog="python -m pipelines.gate", description=main.__doc__).parse_args()
    settings = params.load()
    if not settings.report.gates:
        print("params.yaml: report.gates is empty: nothing to hold the results against")
        return
    rows = read(settings)
    found = outcomes(settings.report, rows, champion(rows, settings.report.rank_by))
    print(as_text(found))
    if not all(outcome.passed for outcome in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
