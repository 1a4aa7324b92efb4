# Makes its own environment in .venv from pinned locks; needs only make and Python 3.11 or newer.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do $$p -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
LOCK ?= $(if $(shell command -v nvidia-smi),requirements-gpu.lock,requirements-cpu.lock)
BIN := .venv/bin
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder
MEDIA ?= ../shared/media
UV := $(BIN)/uv pip install --quiet --python .venv
GET_UV := test -x $(BIN)/uv || $(BIN)/pip install --quiet uv  # users' environment ends without it
CUDA := ^(torch|triton|cuda-|nvidia-)
# The small extras are always installed; `make extras` adds the large ones, 290 MB.
PIN := $(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --no-header --no-annotate --extra train --extra quality --extra tts pyproject.toml
EXTRAS := --extra s3 --extra cluster --extra web --extra insightface --group insightface
# Parts of packages that nothing here loads, up to 260 MB: their tests, headers and compilers, Ray's worker for Java, Arrow's
# server for networks, and ONNX Runtime for programs in C, which Python's module contains once more.
UNUSED := torch/test torch/bin/*[Tt]est* torch/bin/protoc* pandas/tests pyarrow/tests pyarrow/include pyarrow/*flight* ray/jars onnxruntime/capi/libonnxruntime.so*
# Without byte code on disk every process, such as each worker of Ray, compiles all that it imports: seconds.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo extras test test-all lint bench gpu-check locks clean

demo: .venv/installed  ## run a small manifest to the end: sample media of MEDIA if it exists, else the bundled examples
	@echo "Making five short videos and their report: a minute on two cores"
	@$(BIN)/joyvasa demo $(if $(wildcard $(MEDIA)/portraits),--media $(MEDIA))

extras: .venv/extras  ## add what only some need: the page in the browser, networks of InsightFace, S3, clusters on AWS

test: .venv/tools  ## what must always hold; 5 minutes on two cores
	$(BIN)/pytest $(PARALLEL) -m "not slow and not bench"

test-all: .venv/tools  ## the long checks, which `make test` leaves out
	$(BIN)/pytest $(PARALLEL) -m "slow and not bench"

lint: .venv/tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: .venv/tools  ## how fast this machine is: the published sizes, the sample bundle, then single parts; hours without a GPU
	$(BIN)/joyvasa bench $(if $(shell command -v nvidia-smi),,--quick)
	$(BIN)/joyvasa bench --models sample
	$(BIN)/joyvasa bench --models sample --only chain --set animation.precision=bf16
	$(BIN)/python -m tests.bench.gains --quick
	$(BIN)/python -m tests.bench.gains --models sample
	$(BIN)/python -m tests.bench.gains --models sample --set animation.precision=bf16
	$(BIN)/python -m tests.bench.ray_data --models sample
	$(BIN)/python -m tests.bench.start
	$(BIN)/pytest -m bench -s

gpu-check: .venv/tools  ## check the GPU of this machine in eight minutes: tests, networks against the CPU, speed, memory
	$(BIN)/python -m tests.bench.gpu_check

locks: .venv/installed  ## pin anew, for Python 3.11 and newer: what users need, with and without CUDA, then extras and tools
	@$(GET_UV)
	@echo 'imageio-ffmpeg<0.8' > .venv/cpu.txt  # its ffmpeg is 93 MB smaller than later ones, which add the codecs of GPUs
	$(PIN) $(EXTRAS) --extra cpu --extra dev --constraint .venv/cpu.txt > .venv/all.lock
	grep -v '^imageio-ffmpeg' .venv/all.lock > .venv/gpu.txt
	$(PIN) --extra gpu --constraint .venv/gpu.txt > requirements-gpu.lock
	$(PIN) --extra cpu --constraint .venv/all.lock | grep -vE '^(triton|cuda-|nvidia-)' > requirements-cpu.lock
	$(PIN) $(EXTRAS) --extra cpu --constraint .venv/all.lock | grep -vE '$(CUDA)' | grep -vxFf requirements-cpu.lock > requirements-extras.lock
	grep -vE '$(CUDA)' .venv/all.lock | grep -vxFf requirements-cpu.lock | grep -vxFf requirements-extras.lock > requirements-tools.lock

clean:
	rm -rf .venv

# The lock alone decides: resolving anew could add a second OpenCV or ONNX Runtime. Where uv finds no index, such as
# that of a mirror which only pip knows, pip does the same. PyTorch comes last, with the libraries of its CUDA build, if
# any: from its own index in the build for this machine, else the build that pip's configuration offers.
.venv/installed: $(LOCK) pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with ensurepip not found: install one (Debian: python3-venv), or run make PYTHON=/path/to/python3"; exit 1; }
	@echo "Installing joyvasa into .venv: one minute, a few more where $(if $(findstring gpu,$(LOCK)),5,1.5) GB must be downloaded first"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet uv
	@grep -vE '$(CUDA)' $(LOCK) > .venv/packages.lock
	@$(UV) --no-deps -r .venv/packages.lock || $(BIN)/pip install --quiet --no-deps -r .venv/packages.lock
	@$(UV) --no-deps --editable . || $(BIN)/pip install --quiet --no-deps --editable .
	@torch="$$(sed -n 's/^\(torch==[^ ;]*\).*/\1/p' $(LOCK))"; \
	if UV_HTTP_TIMEOUT=5 UV_HTTP_RETRIES=0 $(UV) --dry-run --torch-backend=auto --constraint $(LOCK) "$$torch" 2>/dev/null; \
	then $(UV) --torch-backend=auto --constraint $(LOCK) "$$torch"; \
	else $(BIN)/pip install --quiet --no-compile --constraint $(LOCK) "$$torch"; fi
	@$(BIN)/pip uninstall --quiet --yes uv
	@cd .venv/lib/python*/site-packages && rm -rf $(UNUSED)
	@touch $@

.venv/extras: .venv/installed requirements-extras.lock
	@echo "Adding the extras web, insightface, s3 and cluster to .venv: half a minute"
	@$(GET_UV)
	@$(UV) --no-deps -r requirements-extras.lock || $(BIN)/pip install --quiet --no-deps -r requirements-extras.lock
	@touch $@

.venv/tools: .venv/extras requirements-tools.lock
	@echo "Adding the tools of tests to .venv: half a minute"
	@$(GET_UV)
	@$(UV) --no-deps -r requirements-tools.lock || $(BIN)/pip install --quiet --no-deps -r requirements-tools.lock
	@touch $@
