# Every target is one line of kdlab, pytest or a linter; `make help` lists them.
#
#? NAME     experiment: experiments/NAME.yaml; own/example names experiments/own/example.yaml
#? SET      values to override, separated by spaces: SET="student.alpha=0.3 student.temperature=2"
#? ONLY     run these stages and what they need: ONLY="baseline student"
#? FRESH    train these stages again although they are finished: FRESH=student
#? SEEDS    how many seeds, or which, instead of the file's: SEEDS=3, SEEDS=0,4
#? DEVICES  devices a stage trains on: DEVICES=2
#? TRIALS   completed and pruned trials of a sweep, in all: TRIALS=40
#? WORKERS  processes that share a sweep's trials, or an experiment's stages and seeds: WORKERS=4
#? TIMEOUT  begin no trial after this time: TIMEOUT=2h
#? STUDY    name of a sweep's study, instead of the file's: STUDY=digits-2
#? STORAGE  Optuna's storage, shared by machines: STORAGE=postgresql://host/name
#? LAUNCHER what starts a sweep's workers: LAUNCHER=ray for a Ray cluster
#? ADDRESS  the Ray cluster: ADDRESS=auto, ADDRESS=host:6379; none starts one on this machine
#? GPUS_PER_TRIAL  part of a GPU for each of Ray's workers: GPUS_PER_TRIAL=0.25
#? KEEP     trials whose stages are kept: KEEP=best:5, KEEP=all
#? MLRUNS   folder of stages, MLflow's and Optuna's records: MLRUNS=mlruns
#? JOBS     processes of `make test`: JOBS=2
#? ARGS     anything else, passed on as it is: make test ARGS="-k teacher"

VENV ?= .venv
JOBS ?= 2
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

run = $(VENV)/bin/python -m
folder = $(if $(MLRUNS),--mlruns '$(MLRUNS)')
options = $(foreach s,$(SET),--set '$(s)') $(foreach s,$(ONLY),--only '$(s)') $(foreach s,$(FRESH),--fresh '$(s)') \
	$(if $(SEEDS),--seeds '$(SEEDS)') $(if $(DEVICES),--devices '$(DEVICES)') $(folder) $(ARGS)

study = $(if $(STUDY),--study '$(STUDY)') $(if $(STORAGE),--storage '$(STORAGE)') $(folder) $(ARGS)
search = $(foreach s,$(SET),--set '$(s)') $(if $(TRIALS),--trials '$(TRIALS)') $(if $(WORKERS),--workers '$(WORKERS)') \
	$(if $(TIMEOUT),--timeout '$(TIMEOUT)') $(if $(KEEP),--keep '$(KEEP)') $(if $(LAUNCHER),--launcher '$(LAUNCHER)') \
	$(if $(ADDRESS),--address '$(ADDRESS)') $(if $(GPUS_PER_TRIAL),--gpus-per-trial '$(GPUS_PER_TRIAL)') $(study)

.DEFAULT_GOAL := help
.PHONY: setup experiment rehearse sweep sweep-report dashboard ui report test test-all check bench clean help .named

setup: $(VENV)/.stamp ## make .venv with the proven versions (every target does this by itself)

experiment: .named $(VENV)/.stamp ## run experiments/NAME.yaml: teacher, baseline, student, joint; NAME=digits
	$(run) kdlab run experiments/$(NAME).yaml $(options) $(if $(WORKERS),--workers '$(WORKERS)')

rehearse: .named $(VENV)/.stamp ## one batch of every stage, nothing logged; NAME=digits
	$(run) kdlab rehearse experiments/$(NAME).yaml $(options)

sweep: .named $(VENV)/.stamp ## search what experiments/NAME.sweep.yaml names; NAME=digits
	$(run) kdlab sweep experiments/$(NAME).sweep.yaml $(search)

sweep-report: .named $(VENV)/.stamp ## write the report of a sweep again; NAME=digits
	$(run) kdlab sweep-report experiments/$(NAME).sweep.yaml $(study)

dashboard: .named $(VENV)/.stamp ## open optuna-dashboard on a sweep's study; NAME=digits
	$(run) kdlab dashboard experiments/$(NAME).sweep.yaml $(study)

ui: $(VENV)/.stamp ## open MLflow on what was run
	$(run) kdlab ui $(folder) $(ARGS)

report: .named $(VENV)/.stamp ## write the report of experiments/NAME.yaml again; NAME=digits
	$(run) kdlab report experiments/$(NAME).yaml $(options)

# One thread a process: JOBS processes share the cores, and sums come out in the same order on every machine.
test: $(VENV)/.stamp ## the quick tests, minutes on two cores
	OMP_NUM_THREADS=1 $(run) pytest -m "not slow" -n $(JOBS) --durations=15 $(ARGS)

test-all: $(VENV)/.stamp ## the slow tests: whole experiments, kills, servers, a browser
	$(run) pytest -m slow --durations=15 $(ARGS)

check: $(VENV)/.stamp ## format, lint, types, import directions
	$(run) ruff format --check .
	$(run) ruff check .
	$(run) mypy --strict kdlab
	$(run) pytest -q tests/test_layers.py

bench: $(VENV)/.stamp ## measure kdlab against bare PyTorch and Lightning
	$(run) benchmarks.overhead $(ARGS)

clean: ## remove .venv and caches; what was run stays in mlruns/
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build *.egg-info

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST); sed -n 's/^#? /  /p' $(MAKEFILE_LIST)

.named:
	@test -n "$(NAME)" || { echo "usage: make $(firstword $(MAKECMDGOALS)) NAME=digits" >&2; exit 2; }

# A venv without pip is what an interrupted or refused `python -m venv` leaves behind: it is made anew.
$(VENV)/.stamp: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "kdlab needs Python 3.11 or newer; name one: make PYTHON=/path/to/python" >&2; exit 2; }
	@echo "installing into $(VENV), once, a few minutes"
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(run) pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@
