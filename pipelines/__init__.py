"""The stages and commands: the only package that knows params.yaml, DVC, MLflow, Optuna and paths.

Each module of this folder is one stage or command: `genmodels --help` lists them. The wings below
hold the parts. This file sets environment variables, because torch and MLflow read them when they
are imported. A variable that is already set keeps its value.
"""

import atexit
import gc
import os
import signal
import sys

for name, value in {
    # Waiting threads of libgomp spin otherwise, which is eleven times slower on a busy machine.
    "OMP_WAIT_POLICY": "PASSIVE",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # The default of seven retries blocks a training for four minutes if the server is down.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    # Seconds: a busy server is slow with a thousand points. Whether it answers is checked before.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # MLflow would print two lines per run into the progress display, and a bar for small files.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}.items():
    os.environ.setdefault(name, value)

# `python -m pipelines.<name>` imports this package first. Until `main` starts, Ctrl-C ends the
# process without the traceback of an import that was interrupted.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# No garbage collection at exit: it takes a second with the objects of torch, pandas and MLflow.
atexit.register(gc.freeze)
