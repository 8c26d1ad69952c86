"""The saved views of the run table: which columns, in which order, grouped or as curves.

A saved view is an experiment tag that holds the state of the page as JSON. MLflow 3.17 documents
neither the tag nor the keys; a test in a browser checks the page.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipelines.tracking.store import IS_CURRENT

LEADERBOARD, BY_MODEL, CURVES = "leaderboard", "by_model", "curves"
#: The default order of a table.
AGE = "attributes.start_time"

# Columns of MLflow: checkbox, name, age, duration.
_TICK, _NAME, _AGE, _DURATION = "0", "attributes.`Run Name`", "runDateAndNestInfo", "duration"
_WIDTHS = {_TICK: 60, _NAME: 270, _AGE: 80, _DURATION: 80}
_COST = ("cost/num_parameters", "cost/train_seconds")
_COLLAPSED = ("evaluate", "best", "cost", "train")


def tags(
    metrics: Sequence[str], higher_is_better: bool, models: Iterable[str], curves: Iterable[str]
) -> dict[str, str]:
    """The views of trainings as tags of an experiment.

    The first of the evaluated `metrics` ranks, in the direction `higher_is_better`.
    """
    columns = columns_of("metrics", [*(f"evaluate/{name}" for name in metrics), *_COST])
    state = _table(columns, columns[0], ascending=not higher_is_better, only=IS_CURRENT)
    keys = [{"mode": "tag", "groupByData": "model"}]
    by_model = {
        "groupBy": {"aggregateFunction": "average", "groupByKeys": keys},
        "groupsExpanded": {f"tag.model.{model}": False for model in models},
    }
    views = {LEADERBOARD: state, BY_MODEL: state | by_model, CURVES: state | _charts(curves)}
    return _as_tags(views)


def table_tags(columns: Sequence[str], order_by: str, *, ascending: bool) -> dict[str, str]:
    """The view `LEADERBOARD` with these columns, in the order of one of them or of `AGE`."""
    return _as_tags({LEADERBOARD: _table(columns, order_by, ascending=ascending, only="")})


def columns_of(kind: str, names: Iterable[str]) -> list[str]:
    """The columns of values of one kind: `metrics`, `params` or `tags`."""
    return [f"{kind}.`{name}`" for name in names]


def _as_tags(views: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {f"mlflow.sharedViewState.{key}": json.dumps(view) for key, view in views.items()}


def _table(columns: Sequence[str], order_by: str, *, ascending: bool, only: str) -> dict[str, Any]:
    # MLflow cuts a header that is wider than its column, and most headers start alike.
    widths = {column: 40 + 8 * len(column.split("`")[1]) for column in columns}
    return {
        "searchFilter": only,
        "orderByKey": order_by,
        "orderByAsc": ascending,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": list(columns),
        # By default the table shows `cost/` first and leaves no room for `evaluate/`.
        "columnOrder": [_TICK, _NAME, *columns, _DURATION, _AGE],
        "columnWidths": _WIDTHS | widths,
        "runListHidden": False,
        "groupBy": None,
        "groupsExpanded": {},
    }


def _charts(curves: Iterable[str]) -> dict[str, Any]:
    """The chart page: validation first, then each phase; final values collapsed."""
    folders = {name.rpartition("/")[0] for name in curves} - {"train"}
    shown = sorted(folders, key=lambda folder: (folder != "valid", folder))
    sections = dict.fromkeys(shown, True) | dict.fromkeys(_COLLAPSED, False)
    return {
        "runsHiddenMode": "SHOW_ALL",
        "isAccordionReordered": True,
        "compareRunCharts": [],
        "compareRunSections": [
            {"uuid": name, "name": name, "display": display, "isReordered": True, "deleted": False}
            for name, display in sections.items()
        ],
    }


def link(server: str, experiment_id: str, view: str) -> str:
    """The address of one of the views above on a server such as `http://127.0.0.1:5000`."""
    # Without the workflow type the menu shows chat traces, judges and prompts.
    address = f"{server}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    address += f"&viewStateShareKey={view}"
    return f"{address}&compareRunsMode=CHART" if view == CURVES else address
