"""The saved views of the run table: which columns, in which order, grouped or as curves.

A saved view is an experiment tag that holds the page's state as JSON. MLflow 3.17 documents neither
the tag nor the keys, so they are written here alone and the browser test looks at the page.
"""

import json
from collections.abc import Sequence
from typing import Any

LEADERBOARD, BY_MODEL, CURVES = "leaderboard", "by_model", "curves"

#: What the run table shows besides the metrics.
_COST = ("cost/num_parameters", "cost/train_seconds")


def tags(metrics: Sequence[str], rank_by: str, higher_is_better: bool) -> dict[str, str]:
    """The views as tags of an experiment.

    Args:
        metrics: Names of evaluated values, in the order of the columns.
        rank_by: The one that ranks; it comes first.
        higher_is_better: Its direction.
    """
    ordered = [rank_by, *(name for name in metrics if name != rank_by)]
    names = [f"evaluate/{name}" for name in ordered] + list(_COST)
    columns = [f"metrics.`{name}`" for name in names]
    state: dict[str, Any] = {
        "searchFilter": "",
        "orderByKey": columns[0],
        "orderByAsc": not higher_is_better,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "runListHidden": False,
        "groupBy": None,
        "groupsExpanded": {},
    }
    by_model = {
        "aggregateFunction": "average",
        "groupByKeys": [{"mode": "tag", "groupByData": "model"}],
    }
    views = {
        LEADERBOARD: state,
        BY_MODEL: state | {"groupBy": by_model},
        CURVES: state | {"runsHiddenMode": "SHOW_ALL"},
    }
    return {f"mlflow.sharedViewState.{key}": json.dumps(view) for key, view in views.items()}


def link(server: str, experiment_id: str, view: str) -> str:
    """The address that opens a view, such as `http://127.0.0.1:5000/#/experiments/1/runs?...`."""
    address = f"{server}/#/experiments/{experiment_id}/runs?viewStateShareKey={view}"
    return f"{address}&compareRunsMode=CHART" if view == CURVES else address
