# make quickstart   make an environment, and train a small StyleGAN2 on procedural shapes in a few minutes
# make test         make an environment, and run all checks and tests
# make check        run what must pass before a commit: ruff, mypy, import borders, registry, fast tests
# make registry     rewrite registry.yaml
# make bench        run the short benchmarks

PYTHON ?= python3
BIN := .venv/bin
RUNS := .venv/.runs
READY := .venv/.ready

.PHONY: quickstart test check lint registry bench
.NOTPARALLEL:

# Running needs fewer packages than testing.
$(RUNS): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $(RUNS)

$(READY): $(RUNS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $(READY)

quickstart: $(RUNS)
	$(BIN)/gz train quickstart

# Two processes of one thread each: with two threads each they would compete for cores.
test: $(READY) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: $(READY) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

registry: $(READY)
	$(BIN)/python -m ganzoo.recipe.contents

bench: $(READY)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/step.py --preset tiny
	$(BIN)/python benchmarks/step.py --preset 32
	$(BIN)/python benchmarks/generate.py
	$(BIN)/python benchmarks/swd.py
