# Each target does all of its own set-up: Python 3.11 or newer, git and make are all that is needed.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
READY := $(VENV)/ready
PORT ?= 5000
REV ?= HEAD
# DVC calls `python`, which has to be the environment's.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# A settled environment is part of a reproducible result.
unexport PYTHONPATH

.DEFAULT_GOAL := help
.PHONY: help setup repro status ui publish report gate tune tune-dashboard presets reproduce smoke test check lint bench peers dag clean

help: ## this text
	@echo "make repro runs the pipeline, make ui shows its runs, make test checks the code."
	@echo
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY) ## virtual environment, pinned packages

$(READY): pyproject.toml constraints.txt
	@echo "setting up $(VENV) (2 GB, with a CUDA build of torch 6 GB; a few minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

repro: $(READY) ## the whole pipeline: data, features, training, evaluation, report, MLflow
	dvc repro
	@echo
	@echo "report: $(CURDIR)/reports/index.html"
	@echo "runs:   make ui"

status: $(READY) ## the stages that the next `dvc repro` runs, with the reason of each
	@python -m pipelines.status

ui: $(READY) ## the MLflow UI on 127.0.0.1 (PORT=5000), with a store that is complete
	@python -m pipelines.ui --port $(PORT)

publish: $(READY) ## complete the MLflow store from the files
	python -m pipelines.publish

report: $(READY) ## the report and what it needs
	dvc repro report

gate: $(READY) ## check the results against the gates of params.yaml; exit code 1 if one is broken
	@python -m pipelines.gate

STUDY ?=
tune: $(READY) ## a study of tune.yaml: make tune STUDY=vae_beta, 37,000 training steps
	@test -n "$(STUDY)" || { echo "name one: make tune STUDY=vae_beta"; exit 1; }
	dvc repro pipelines/tuning/dvc.yaml:tune@$(STUDY)
	@echo "page: $(CURDIR)/outputs/tune/$(STUDY)/index.html"

DASHBOARD_PORT ?= 8080
OPTUNA_STORAGE = $(or $(GENMODELS_OPTUNA_STORAGE),sqlite:///$(CURDIR)/optuna.db)
tune-dashboard: $(READY) ## Optuna's own pages of the studies on 127.0.0.1 (DASHBOARD_PORT=8080)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev,dashboard]'
	@optuna-dashboard --host 127.0.0.1 --port $(DASHBOARD_PORT) "$(OPTUNA_STORAGE)"

SELECTED = from pipelines.settings import params; \
	print(*("-S ++selected.%s=%s" % (name, entry["kind"]) for name, entry in params.load().models.items()))
presets: $(READY) ## every preset, three seeds each, as the DVC experiment `presets`: an estimated 2 CPU-hours
	dvc exp run --temp --name presets -S 'seeds=[0,1,2]' $$(python -c '$(SELECTED)')
	@echo "report and leaderboard: dvc exp apply presets"

reproduce: $(READY) ## published results on all of MNIST, into reports/reproductions.md: about two hours
	python -m pipelines.reproduce

smoke: $(READY) ## all stages on tiny data, in a temporary clone
	pytest -q tests/test_smoke.py

# A slow test starts processes of its own and a file of slow tests shares one clone: two at a time.
XDIST := --numprocesses logical --dist loadgroup --maxprocesses
test: lint ## every check and every test
	OMP_NUM_THREADS=1 pytest -q -m "not slow" $(XDIST) 4
	OMP_NUM_THREADS=1 pytest -q -m slow $(XDIST) 2

check: lint ## lint, dvc.yaml against the code, README, contracts of kinds and metrics
	pytest -q tests/pipelines/test_dvc_yaml.py tests/test_readme.py \
		tests/genmodels/test_model_contract.py tests/evaluation/test_metric_contract.py

lint: $(READY) ## ruff, mypy, import contracts
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-cache

peers: $(READY) ## every metric beside other packages on the same features, with the differences
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	python -m tests.bench.peers

bench: $(READY) ## speed beside a bare loop, pythae, torch-fidelity, torchmetrics; memory; modes covered; tracking
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	python -m tests.bench.throughput
	python -m tests.bench.start_up
	python -m tests.bench.report
	python -m tests.bench.against_pythae
	python -m tests.bench.precision
	python -m tests.bench.penalties
	python -m tests.bench.memory
	python -m tests.bench.mode_coverage
	python -m tests.bench.evaluation
	python -m tests.bench.frechet
	python -m tests.bench.feature_memory
	python -m tests.bench.fid_infinity
	python -m tests.bench.tracking
	python -m tests.bench.store
	python -m tests.bench.tuning_cluster

dag: $(READY) ## draw the pipeline into the README
	python -m tests.readme

clean: ## caches of tools; never outputs or databases
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find pipelines genmodels evaluation tests -name __pycache__ -type d -prune -exec rm -rf {} +
