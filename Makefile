# `make` alone explains itself. Everything lives in .venv and .dpo; `make clean` removes both.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt
WORKERS ?= 2
DEMO := examples/identity/retrain.yaml

.PHONY: help demo test check bench bench-reference bench-generate bench-data bench-gate bench-uptake bench-intervals bench-preflight bench-sampled bench-online recipes campaign faults fuzz clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.runtime ## teach a small model its name: check, score, train, evaluate, register, gate, promote
	$(BIN)/dpo retrain $(DEMO)

recipes: .venv/.runtime ## the shipped recipes with three seeds each, before and after, into docs/recipes.md; goes on where it stopped
	$(BIN)/python benchmarks/recipes.py

test: .venv/.test ## install what the tests need and run them all, WORKERS=2 at a time
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder

check: .venv/.dev ## format, lint, types, who imports whom
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.test ## time a training step against TRL's, into benchmarks/results/
	$(BIN)/python benchmarks/train_step.py

bench-reference: .venv/.test ## time the reference pass against TRL's, and one that finds everything, into benchmarks/results/
	$(BIN)/python benchmarks/reference.py

bench-generate: .venv/.runtime ## time answers against transformers' generate, and count what depends on the batch, into docs/performance.md
	$(BIN)/python benchmarks/generate.py

bench-data: .venv/.runtime ## time the data check on up to a million pairs, into benchmarks/results/
	$(BIN)/python benchmarks/check_data.py

bench-gate: .venv/.runtime ## how often the gate is wrong and what it finds, by simulation, into docs/promotion.md
	$(BIN)/python benchmarks/gate.py
	$(BIN)/python benchmarks/gate.py report

bench-uptake: .venv/.runtime ## a planted shortcut, warned of, learnt, seen and rejected, over three seeds, into docs/evaluation.md
	$(BIN)/python benchmarks/uptake.py

bench-intervals: .venv/.runtime ## how often the reports' intervals hold the truth, by simulation, into docs/evaluation.md
	$(BIN)/python benchmarks/intervals.py

bench-preflight: .venv/.test ## how far the estimates of memory and time are off ten real steps, into docs/preflight.md
	$(BIN)/python benchmarks/preflight.py

bench-sampled: .venv/.runtime ## what several sampled answers a question are worth to the gate, by simulation, into docs/evaluation.md
	$(BIN)/python benchmarks/sampled.py

bench-online: .venv/.test ## learning from one's own answers against rounds, pairs made before and TRL's OnlineDPOTrainer, into docs/online.md
	$(BIN)/python benchmarks/online.py

campaign: .venv/.test ## false alarms and recall of the shortcut checks, into docs/data-quality.md (DATA=folder adds real sets)
	$(BIN)/python benchmarks/campaign.py nulls 0 200
	$(BIN)/python benchmarks/campaign.py clustered 0 200
	$(BIN)/python benchmarks/campaign.py recall
	$(BIN)/python benchmarks/campaign.py recall_clustered
	if [ -n "$(DATA)" ]; then $(BIN)/python benchmarks/campaign.py real $(DATA) && $(BIN)/python benchmarks/campaign.py swaps $(DATA) 20; fi
	$(BIN)/python benchmarks/campaign.py report

faults: .venv/.test ## kill, starve and deceive whole runs for an hour, into docs/reliability.md
	FAULTS_RECORD=1 $(BIN)/python -m pytest -m campaign; code=$$?; \
	$(BIN)/python -m tests.faults.results && exit $$code

fuzz: .venv/.test ## 2,000 mutations of model folders and 2,000 of data files, into benchmarks/results/
	FUZZ_CASES=2000 FUZZ_RECORD=1 $(BIN)/python -m pytest tests/fuzz --timeout 14400

clean: ## remove the environment, every run, every cache
	rm -rf .venv .dpo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	touch $@

.venv/.test: .venv/.runtime
	$(PIP) --editable ".[test]"
	touch $@

.venv/.dev: .venv/.test
	$(PIP) --editable ".[test,dev]"
	touch $@
