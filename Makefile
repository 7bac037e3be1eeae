# Two commands set everything up: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# A process for each core; what a file's tests share is made once.
PARALLEL := -n auto --dist loadfile

.PHONY: demo test test-all planted check clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("motet needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,fast,ot,tensorboard,xarray]'
	touch $(READY)

demo: $(READY)  ## decode a simulated population, beside classical rivals and chance
	$(BIN)/motet simulate population --n_subjects 1 --output runs/demo/data
	$(BIN)/motet decode runs/demo/data/subject-1.npz --target direction --folds 3 --output runs/demo/decode

test: $(READY)  ## the tests, without the slow ones
	$(BIN)/python -m pytest $(PARALLEL)

test-all: $(READY)  ## the slow ones too
	$(BIN)/python -m pytest $(PARALLEL) -m ""

planted: $(READY)  ## plant faults in copies of the code, each of which the tests named for it must notice
	$(BIN)/python tests/planted/plant.py

check: $(READY)  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) runs
