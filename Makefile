# Two commands do everything: `make demo` and `make test`. Both only wrap what the README shows.

VENV ?= .venv
PYTHON ?= python3
CORES ?= all
OF ?= all
BIN := $(VENV)/bin

.PHONY: demo report test lint format clean

demo: $(VENV)/.installed
	$(BIN)/snakemake --cores $(CORES) --quiet rules

report: $(VENV)/.installed
	$(BIN)/snakemake --report report.html -- $(OF)

test: $(VENV)/.installed
	$(BIN)/pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check workflow
	PYTHONPATH=scripts $(BIN)/lint-imports
	$(BIN)/snakemake --lint

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt workflow

clean:
	rm -rf results/* .snakemake

$(VENV)/.installed: envs/requirements.txt envs/requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --requirement envs/requirements.txt --requirement envs/requirements-dev.txt
	touch $@
