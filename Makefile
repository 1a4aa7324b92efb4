# Makes its own environment in .venv from a pinned lock; needs only make and Python 3.11 or 3.12.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$p && break; done)
LOCK ?= $(if $(shell command -v nvidia-smi),requirements-gpu.lock,requirements-cpu.lock)
BIN := .venv/bin
MEDIA ?= ../shared/media
PIN := uv pip compile --quiet --python-version 3.11 --python-platform linux --no-header --no-annotate --extra dev --extra s3 --extra train --extra quality --extra web --extra insightface --group insightface

.PHONY: demo test test-all lint bench locks clean

demo: .venv/installed  ## run a small manifest to the end: sample media of MEDIA if it exists, else the bundled examples
	$(BIN)/joyvasa demo $(if $(wildcard $(MEDIA)/portraits),--media $(MEDIA))

test: .venv/installed  ## what must always hold; under 15 minutes on two cores
	$(BIN)/pytest -m "not slow and not bench"

test-all: .venv/installed  ## everything, the long checks too
	$(BIN)/pytest -m "not bench"

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: .venv/installed  ## how fast this machine is: the published sizes, the sample bundle, then single parts; hours without a GPU
	$(BIN)/joyvasa bench $(if $(shell command -v nvidia-smi),,--quick)
	$(BIN)/joyvasa bench --models sample
	$(BIN)/joyvasa bench --models sample --only chain --set animation.precision=bf16
	$(BIN)/python -m tests.bench.gains --quick
	$(BIN)/python -m tests.bench.gains --models sample
	$(BIN)/python -m tests.bench.gains --models sample --set animation.precision=bf16
	$(BIN)/python -m tests.bench.ray_data --models sample
	$(BIN)/python -m tests.bench.start
	$(BIN)/pytest -m bench -s

locks: pyproject.toml  ## pin anew; needs uv, and for the CPU lock UV_FIND_LINKS with a CPU build of torch
	$(PIN) --extra cpu pyproject.toml | sed 's/+cpu//' > requirements-cpu.lock
	UV_FIND_LINKS= $(PIN) --extra gpu pyproject.toml > requirements-gpu.lock

clean:
	rm -rf .venv

# torch comes first and with what it needs (its CUDA builds bring their libraries as packages).
# The rest comes from the lock alone: resolving anew could add a second OpenCV or ONNX Runtime.
.venv/installed: $(LOCK) pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 not found: install one, or run make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet "$$(sed -n 's/^\(torch==[^ ;]*\).*/\1/p' $(LOCK))"
	$(BIN)/pip install --quiet --no-deps -r $(LOCK)
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@
