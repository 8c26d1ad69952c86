"""The stages of the pipeline: the only code that knows params.yaml, DVC, MLflow and paths.

The environment is prepared here because every command is `python -m pipelines.<stage>`, and these
variables count only if they stand before torch or mlflow is imported. A value that the user has
set wins.
"""

import atexit
import gc
import os

for name, value in {
    # libgomp's waiting threads spin: on a busy machine that is an eleven-fold slowdown.
    "OMP_WAIT_POLICY": "PASSIVE",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # One retry: the default of seven blocks a training for four minutes when a server is away.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    # A busy server may need long for a thousand points; whether one answers at all is asked before.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # Two lines a run between the progress bars, and a bar for files that are small.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}.items():
    os.environ.setdefault(name, value)

# Of what a process leaves at its end nothing needs to be found: among the objects of torch, pandas
# and MLflow the search takes a second.
atexit.register(gc.freeze)
