"""Where each stage writes. Stage, file, params section and output folder share one word."""

import os
from pathlib import Path

#: The checkout: what DVC tracks lies below it. In `dvc exp run --temp` this is a copy.
ROOT = Path(__file__).resolve().parents[2]

#: The real checkout, also from inside a copy: stores that outlive a run lie here.
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
#: Tuning: a folder a study.
TUNE = OUTPUTS / "tune"
#: Tuning: the best trials of each study, retrained.
RETRAINED = OUTPUTS / "retrained"
#: Reproductions: their models, and the data sets that they share.
REPRODUCTION_MODELS = OUTPUTS / "reproductions"
#: Measured times: no DVC outs, because they differ from run to run. Only `publish` reads them.
TIMING = OUTPUTS / "timing"

REPORTS = ROOT / "reports"
METRICS = REPORTS / "metrics"
HISTORY = REPORTS / "history"
#: What each study has found, for the report: in git, because a plain `dvc repro` runs none.
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
