# make demo: see it work.  make test: what must hold before a change goes in.
PYTHON ?= python3
# Where PyTorch comes from: auto (its CPU build where there is no NVIDIA GPU), none (the usual index), or the URL of an index.
TORCH_INDEX ?= auto
# Further options for pip install, e.g. PIP_ARGS="--index-url https://mirror.example/simple"
PIP_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
# The peers that the benchmarks measure against bring much that nothing else needs.
BENCH_VENV := .venv-bench
SETUP_OPTIONS := --torch-index "$(TORCH_INDEX)" --pip-options="$(PIP_ARGS)"
SETUP := $(PYTHON) .ci/setup_venv.py $(VENV) $(SETUP_OPTIONS)
# Options of the benchmarks, e.g. BENCH_ARGS="--device cuda --only peers"
BENCH_ARGS ?=
PINS := pyproject.toml constraints.txt .ci/setup_venv.py
CODE := KidneyTumorCascadeLib KidneyTumorCascade Training Testing .ci

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup setup-train demo test lint format types check constraints cmake-lists icon screenshots bench clean

help:
	@echo "make setup        .venv with kidney-tumor-cascade and its pinned dependencies"
	@echo "make setup-train  the same with what Training/ draws curves and pictures with (matplotlib, tqdm, TensorBoard)"
	@echo "make demo         segments a phantom CT; results in out/demo"
	@echo "make test         lint, types and tests"
	@echo "make lint         ruff only"
	@echo "make types        mypy only"
	@echo "make format       rewrites the code in the house's format"
	@echo "make bench        measures against nnU-Net and MONAI (BENCH_ARGS=\"--device cuda\" on a GPU); report in out/bench"
	@echo "make screenshots  takes the pictures of the Slicer module in docs/screenshots anew"
	@echo "make constraints  renews constraints.txt (needs uv)"
	@echo "make cmake-lists  lists the files of the Slicer extension in its CMake files"
	@echo "make icon         draws the icon of the Slicer extension and the picture of its sample"
	@echo "make clean        removes what the other targets made"
	@echo "PYTHON=python3.12 chooses the Python; TORCH_INDEX=auto|none|URL chooses where PyTorch comes from."

setup: $(VENV)/.setup

$(VENV)/.setup: $(PINS)
	@$(SETUP)
	@touch $@

# Training's extra takes 0.1 GB that most users never need.
setup-train: $(VENV)/.train

$(VENV)/.train: $(PINS)
	@$(SETUP) --extras train
	@touch $@ $(VENV)/.setup

# The test tools come on top of the same environment, so either stamp serves `make demo`.
$(VENV)/.test: $(PINS)
	@$(SETUP) --extras train,cluster,test,slicer
	@touch $@ $(VENV)/.train $(VENV)/.setup

demo: setup
	@$(BIN)/kidney-tumor-cascade demo out/demo

lint: $(VENV)/.test
	@$(BIN)/ruff check $(wildcard $(CODE))
	@$(BIN)/ruff format --check --quiet $(wildcard $(CODE)) || { echo "Not in the house's format: run make format."; exit 1; }

types: $(VENV)/.test
	@$(BIN)/mypy $(wildcard $(CODE))

test: lint types
	@$(BIN)/python -m pytest -q

format: $(VENV)/.test
	@$(BIN)/ruff check --fix --quiet $(wildcard $(CODE)); $(BIN)/ruff format --quiet $(wildcard $(CODE))

screenshots: $(VENV)/.test
	@$(BIN)/python -m Testing.Slicer.screenshots

$(BENCH_VENV)/.setup: $(PINS)
	@$(PYTHON) .ci/setup_venv.py $(BENCH_VENV) $(SETUP_OPTIONS) --extras bench
	@touch $@

bench: $(BENCH_VENV)/.setup
	@$(BENCH_VENV)/bin/python -m Testing.Benchmarks.run $(BENCH_ARGS)

constraints:
	@uv pip compile --quiet --universal --python-version 3.10 --all-extras --constraint .ci/torch-version.txt --no-annotate \
		--custom-compile-command "make constraints" pyproject.toml -o constraints.txt

cmake-lists:
	@$(PYTHON) -m Testing.cmake_lists

icon: $(VENV)/.test
	@$(BIN)/python Testing/Slicer/draw_icon.py
	@$(BIN)/python -m Testing.Slicer.draw_thumbnail

clean:
	@rm -rf $(VENV) $(BENCH_VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
