# Two commands set everything up: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Tensors of tests, guides and the demo are tiny: a second thread waits for the first, and costs as much.
export OMP_NUM_THREADS ?= 1
# A process for each core; what a file's tests share is made once. Files in their order: the slowest are no last ones.
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all planted check docs clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("motet needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs,export,fast,hub,mne,nwb,ot,pynapple,report,sweep,tables,tensorboard,xarray]'
	touch $(READY)

# Three simulated animals: decode one; pretrain on it and another, and decode the third from one trial of each direction; see who plays whose role.
DATA := runs/demo/data
demo: $(READY)  ## simulated populations: decode, transfer to a new one from few trials, align; beside rivals and chance
	$(BIN)/motet simulate population --n_subjects 3 --n_trials 96 --neuron_gain_variability 0.3 --latency_jitter_seconds 0.03 --output $(DATA)
	$(BIN)/motet decode $(DATA)/subject-1.npz --target direction --folds 3 --training.max_steps 150 --output runs/demo/decode
	$(BIN)/motet pretrain $(DATA)/subject-1.npz $(DATA)/subject-2.npz --target direction --period 8 --training.max_steps 20 --output runs/demo/encoder
	$(BIN)/motet transfer $(DATA)/subject-3.npz --encoder runs/demo/encoder --target direction --k '[1]' --unlabelled '[none,tested]' --draws 5 --output runs/demo/transfer
	$(BIN)/motet align $(DATA)/subject-1.npz $(DATA)/subject-3.npz --halves 1 --output runs/demo/align
	$(BIN)/motet report runs/demo/decode

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

# Extra docs; guides are run, on simulated data. A warning, such as a link that leads nowhere, is an error.
docs: $(READY)  ## the site, in build/docs
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --nitpicky --quiet docs build/docs
	@echo "open build/docs/index.html"

clean:
	rm -rf $(VENV) runs build
