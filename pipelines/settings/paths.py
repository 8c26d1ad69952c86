"""The files and folders of the project: a stage, its module and its output folder share a name."""

import os
from pathlib import Path

#: The checkout, which contains all files that DVC tracks. In `dvc exp run --temp` this is a copy.
ROOT = Path(__file__).resolve().parents[2]

#: The original checkout, even if the code runs in a copy: the folder of permanent stores.
HOME = Path(os.environ.get("DVC_ROOT", ROOT))

REPRODUCTIONS = ROOT / "reproductions"
PARAMS = ROOT / "params.yaml"
TUNE_YAML = ROOT / "tune.yaml"
DVC_YAML = ROOT / "dvc.yaml"
DVC_LOCK = ROOT / "dvc.lock"

OUTPUTS = ROOT / "outputs"
RESOLVE = OUTPUTS / "resolve"
PREPARE = OUTPUTS / "prepare"
FEATURES = OUTPUTS / "features"
REFERENCES = OUTPUTS / "references"
TRAIN = OUTPUTS / "train"
EVALUATE = OUTPUTS / "evaluate"
#: Tuning: one folder per study.
TUNE = OUTPUTS / "tune"
#: Tuning: the best trials of each study, retrained.
RETRAINED = OUTPUTS / "retrained"
#: Reproductions: their models, and the data sets that they share.
REPRODUCTION_MODELS = OUTPUTS / "reproductions"
#: Measured times. They differ from run to run, so they are not DVC outs. Only `publish` reads them.
TIMING = OUTPUTS / "timing"

REPORTS = ROOT / "reports"
METRICS = REPORTS / "metrics"
HISTORY = REPORTS / "history"
#: Results of the studies, for the report; in git, because `dvc repro` runs no study.
STUDY_SUMMARIES = REPORTS / "studies"
REPORT = REPORTS / "index.html"
COMPARISON = REPORTS / "comparison.md"
LEADERBOARD = REPORTS / "leaderboard.csv"
REPRODUCED = REPORTS / "reproductions"
REPRODUCTIONS_PAGE = REPORTS / "reproductions.md"
TRACKING = REPORTS / "tracking.json"

OPTUNA_DB = HOME / "optuna.db"
MLFLOW_DB = HOME / "mlflow.db"
MLFLOW_ARTIFACTS = HOME / "mlartifacts"
CHECKPOINTS = HOME / ".checkpoints"
