# Two commands do everything: `make demo` and `make test`. Both only wrap what the README shows.

VENV ?= .venv
PYTHON ?= python3
CORES ?= all
OF ?= all
BIN := $(VENV)/bin
# Not the scripts of the environment, whose first line cannot name every path of an interpreter.
RUN := $(BIN)/python -m

.PHONY: demo report test lint format rulegraph clean

demo: $(VENV)/.installed
	$(RUN) snakemake --cores $(CORES) --quiet rules -- $(OF)

report: $(VENV)/.installed
	$(RUN) snakemake --report report.html --report-stylesheet workflow/report/report.css -- $(OF)

test: $(VENV)/.installed
	$(RUN) pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check workflow
	PYTHONPATH=scripts $(BIN)/lint-imports
	$(RUN) mypy
	$(RUN) snakemake --lint

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt workflow

rulegraph: $(VENV)/.installed
	$(BIN)/python docs/rulegraph.py

clean:
	rm -rf results/* .snakemake

$(VENV)/.installed: envs/requirements.txt envs/requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) pip install --quiet --requirement envs/requirements.txt --requirement envs/requirements-dev.txt
	touch $@
