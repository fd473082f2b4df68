# Every verb does the set-up that it needs, once. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

# ARGS="model=cnn data=digits seeds.master=7" is handed to the command as it stands.
ARGS ?=
# What the environment is made with; else the newest of 3.11 to 3.13 on PATH.
PYTHON ?=
VENV ?= .venv
BIN := $(VENV)/bin
# Quoted wherever they stand: folders may be called as they like.
UV := VENV="$(VENV)" .ci/uv
SETUP := VENV="$(VENV)" PYTHON="$(PYTHON)" .ci/environment
# uv brings certificates of its own; where the system has some, those count (a company's proxy, say), as for git and curl.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt),)
export UV_SYSTEM_CERTS ?= true
endif

.PHONY: help train repeat compare variance report tutorial verify diagnose replay diff audit ui doctor sync fsck image docker-train docker-repeat docker-verify docker-shell legacy test portable-test portable-table emulation image-test new lint bench comparison pictures jax torch cluster lock lock-check release-check coverage clean

help:  ## this list
	@awk 'BEGIN {FS = ":.*## "} /^ifneq .*wildcard/ {path = $$0; sub(/.*wildcard /, "", path); sub(/\).*/, "", path); hidden = system("[ -e \"" path "\" ]")} \
	  /^endif/ {hidden = 0} !hidden && /^[a-z][a-z-]*:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

train: setup-train  ## train one model: make train ARGS="model=cnn data=digits seeds.master=7"
	@"$(BIN)/seedbed" train $(ARGS)

repeat: setup-train  ## train over many seeds, and say how sure the result is: make repeat ARGS="study.n=30 experiment=digits_cnn"
	@"$(BIN)/seedbed" repeat $(ARGS)

compare: setup-train  ## is A better than B? make compare ARGS="'model=mlp' 'model=cnn' -- data=digits study.n=20"
	@"$(BIN)/seedbed" compare $(ARGS)

variance: setup-train  ## which source of randomness makes results differ? make variance ARGS="experiment=digits_cnn"
	@"$(BIN)/seedbed" variance $(ARGS)

report: setup-train  ## a study as one HTML file, to open, print or send: make report ARGS="STUDY" (its name or the beginning)
	@"$(BIN)/seedbed" report $(ARGS)

ifneq ($(wildcard tutorial),)
tutorial: setup-train  ## the tutorial of 2017, nine years later, on one page: make tutorial ARGS="theano_2017"
	@"$(BIN)/python" tutorial $(ARGS)
endif

verify: setup-train  ## does the result hold? trained again under perturbation, bit by bit: make verify ARGS="experiment=digits_cnn"
	@"$(BIN)/seedbed" verify $(ARGS)

diagnose: setup-train  ## where do two executions part, and why? make diagnose ARGS="--against 'determinism.threads.intra_op=2'"
	@"$(BIN)/seedbed" diagnose $(ARGS)

replay: setup-train  ## train a record again and compare the bits: make replay ARGS="RUN" (a path, a key or an MLflow run id; --checkout)
	@"$(BIN)/seedbed" replay $(ARGS)

diff: setup-train  ## what differs between two records, and what explains it: make diff ARGS="A B" (paths or keys)
	@"$(BIN)/seedbed" diff $(ARGS)

audit: setup-dev  ## what in your code makes runs differ, with the mend: make audit ARGS="src/example --json"
	@"$(BIN)/seedbed" audit $(ARGS)

ui: setup-train  ## MLflow's page for all runs, on this machine alone: make ui PORT=5001 (it prints where the tables with seeds are)
	@PORT="$(PORT)" "$(BIN)/seedbed" ui $(ARGS)

doctor: setup-train  ## which levels of determinism this machine can keep, and what runs here
	@"$(BIN)/seedbed" doctor $(ARGS)

fsck: setup-train  ## which records are whole, what is damaged, and how to get it back: make fsck ARGS="RUN" (all if none is named)
	@"$(BIN)/seedbed" fsck $(ARGS)

sync: setup-train  ## send to MLflow what is missing there
	@"$(BIN)/seedbed" sync $(ARGS)

# ENGINE=podman, GPU=1, IMAGE=name:tag, TRACKING=server: docker/build and docker/run say what they do, and print the command
export ENGINE GPU VARIANT IMAGE TRACKING RUNS DOCKER_ARGS
IMAGE_IS_THERE := $(if $(IMAGE),,image)

image:  ## build the image: make image GPU=1 (VARIANT=server: MLflow's, for docker/compose.yaml)
	@docker/build $(ARGS)

docker-train: $(IMAGE_IS_THERE)  ## train in the image: make docker-train GPU=1 ARGS="model=cnn data=digits" TRACKING=server
	@docker/run train $(ARGS)

docker-repeat: $(IMAGE_IS_THERE)  ## `repeat` in the image
	@docker/run repeat $(ARGS)

docker-verify: $(IMAGE_IS_THERE)  ## `verify` in the image
	@docker/run verify $(ARGS)

docker-shell: $(IMAGE_IS_THERE)  ## a shell in the image
	@docker/run shell $(ARGS)

ifneq ($(wildcard docker/legacy),)
legacy:  ## the 2017 tutorial's program on the software of its day, beside what was published (needs Python 3.6 or docker)
	@docker/legacy/run $(ARGS)
endif

ifneq ($(wildcard copier.yml),)
new: setup-template  ## a project of your own, with this machinery: make new DEST=../churn EXAMPLE=tabular (none, images; else it asks)
	@[ -n "$(DEST)" ] || { echo "Say where: make new DEST=../churn (and EXAMPLE=none, tabular or images)" >&2; exit 2; }
	@BIN="$(VENV)/template/bin" .ci/new "$(DEST)" $(if $(EXAMPLE),--defaults --data example=$(EXAMPLE)) $(ARGS)
endif

ifneq ($(wildcard .copier-answers.yml),)
.PHONY: template-update template-check
template-update: setup-template  ## new machinery from the template; your code, configs and lock stay (conflicts as git shows them)
	@BIN="$(VENV)/template/bin" .ci/template-update $(ARGS)

template-check: setup-template  ## is the machinery here what the template's version has that it claims? file by file; 1 if not
	@BIN="$(VENV)/template/bin" .ci/template-check
endif

# The tiers of the tests: docs/testing.md. JAX and PyTorch only where there are tests of them.
OTHERS := not slow and not image and not emulation
TESTED := setup-$(if $(wildcard tests/end_to_end/test_backends.py),backends,dev) $(if $(wildcard mkdocs.yml),setup-docs)

test: setup-dev  ## the tests that every change is tried with, in minutes: make test ARGS="-k seeds"
	@"$(BIN)/python" -m pytest -m "not integration and $(OTHERS)" $(ARGS)

ifneq ($(wildcard tests/end_to_end),)
.PHONY: test-integration test-slow test-all
# Three at once: a fifth of their time they wait for servers and kills, and not for a processor.
test-integration: $(TESTED)  ## servers, clusters, kills, full disks, browsers, other backends, copies of the project, documents
	@"$(BIN)/python" -m pytest -m "integration and $(OTHERS)" -n 3 $(ARGS)

test-slow: $(TESTED)  ## more cases of what the tests show, too long for CI
	@"$(BIN)/python" -m pytest -m "slow and not image and not emulation" $(ARGS)

test-all: $(TESTED)  ## every test there is, of the image and on emulated CPUs too (some hours)
	@"$(BIN)/python" -m pytest -m "not image and not emulation"
	@$(MAKE) --no-print-directory portable-test image-test
endif

ifneq ($(wildcard tests/portable),)
portable-test: setup-dev  ## determinism=portable: the same bits on emulated CPUs, fewer cores, masked features (an hour; ARGS="-k cnn")
	@"$(BIN)/python" tests/portable/emulation.py || true
	@"$(BIN)/python" -m pytest -m emulation -n 0 -rs -s $(ARGS)

portable-table: setup-dev  ## measure anew which operations have portable bits: src/seedbed/run/portable.json, docs/portable.md
	@"$(BIN)/python" tests/portable/emulation.py
	@"$(BIN)/python" tests/portable/operations.py $(ARGS)

emulation: setup-dev  ## install QEMU, for --against-cpu (root on Debian)
	@"$(BIN)/python" tests/portable/emulation.py
endif

# 1.4 times the tests' CPU time, so no part of them. The report comes even if one fails; a process that is killed leaves none.
coverage: $(TESTED)  ## which lines the tests execute, child processes included: a table, and pages in build/coverage/html (ARGS as for test)
	@rm -rf build/coverage && mkdir -p build/coverage
	@status=0; "$(BIN)/python" -m coverage run -m pytest -m "$(OTHERS)" $(ARGS) || status=$$?; \
	"$(BIN)/python" -m coverage combine --quiet && "$(BIN)/python" -m coverage report && "$(BIN)/python" -m coverage html --quiet; \
	echo "Line by line: build/coverage/html/index.html"; exit $$status

ifneq ($(wildcard tests/mutations.py),)
.PHONY: mutation-test
mutation-test: setup-dev  ## do the tests catch small faults? planted one at a time, each caught by a named test: make mutation-test ARGS="-k holm"
	@"$(BIN)/python" tests/mutations.py $(ARGS)
endif

image-test: setup-dev  ## build the image and run it: the same bits in and out (a Docker engine, or root on Debian 12 and 10 GB)
	@"$(BIN)/python" -m pytest -m "image and not slow" -n 0 -rs $(ARGS)

ifneq ($(wildcard mkdocs.yml),)
.PHONY: docs docs-serve
# MkDocs's notice of its successor says nothing about this build
export NO_MKDOCS_2_WARNING ?= 1
docs: setup-docs  ## the documentation as a site, build/site/index.html; draws docs/architecture.svg anew
	@"$(BIN)/python" docs/making/architecture.py
	@"$(BIN)/mkdocs" build --quiet $(ARGS)
	@echo "build/site/index.html"

docs-serve: setup-docs  ## the site, on this machine alone, anew after each change: http://127.0.0.1:8000 (PORT=8001)
	@"$(BIN)/mkdocs" serve --dev-addr 127.0.0.1:$${PORT:-8000} $(ARGS)
endif

lint: setup-dev  ## hadolint, ruff (check and format), mypy, import contracts, audit
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check .
	@"$(BIN)/mypy"
	@"$(BIN)/lint-imports" --no-cache
	@"$(BIN)/hadolint" Dockerfile $(wildcard docker/legacy/Dockerfile)
	@"$(BIN)/seedbed" audit

ifneq ($(wildcard tests/bench.py),)
bench: setup-train  ## what recording and determinism cost: ratios, side by side in one run
	@"$(BIN)/python" tests/bench.py $(ARGS)
endif

ifneq ($(wildcard tests/comparison.py),)
comparison: setup-train  ## what people use today beside seedbed, measured: docs/comparison.md (a quarter of an hour on an idle machine)
	@"$(BIN)/python" tests/comparison.py $(ARGS)
endif

ifneq ($(wildcard docs/pictures/record.py),)
pictures: setup-docs  ## make the README's pictures anew, by running what they show: make pictures ARGS="train"
	@PYTHONPATH=tests "$(BIN)/python" docs/pictures/record.py $(ARGS)
endif

jax:  ## install the JAX backend, for CPUs: make train ARGS="backend=jax"
	@$(SETUP) jax

torch:  ## install the PyTorch backend, for CPUs: make train ARGS="backend=torch"
	@$(SETUP) torch

cluster:  ## install the launchers for more than one machine: ray, submitit (SLURM)
	@$(SETUP) cluster

lock: setup-uv  ## every pin anew: wheels into requirements/, images into Dockerfile and docker/compose.yaml (review the diff)
	@rm -f requirements/*.txt
	@$(MAKE) --no-print-directory lock-files
	@docker/pin

lock-check: setup-uv  ## fail when requirements/ and pyproject.toml part
	@pins() { grep -hv '^ *#' requirements/*.txt | sha256sum; }; before=$$(pins); copy=$$(mktemp -d); cp -p requirements/*.txt "$$copy"; \
	trap 'cp -p "$$copy"/*.txt requirements/; rm -rf "$$copy" requirements/.no-cuda requirements/.torch' EXIT; \
	$(MAKE) --no-print-directory lock-files; after=$$(pins); \
	[ "$$before" = "$$after" ] || { echo "requirements/ is not what pyproject.toml asks for: make lock" >&2; exit 2; }

release-check: setup-dev  ## what is still missing before a release, a line each; 1 if anything is: make release-check VERSION=0.2.0
	@"$(BIN)/python" .ci/release_check.py $(VERSION) $(ARGS)

COMPILE := $(UV) pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-header
.PHONY: lock-files
lock-files: setup-uv  ## pins for what pyproject.toml asks for now: the others stay as they are
	@mkdir -p requirements
	@$(COMPILE) pyproject.toml --extra cpu -o requirements/cpu.txt
	@$(COMPILE) pyproject.toml --extra gpu -c requirements/cpu.txt -o requirements/gpu.txt
	@$(COMPILE) --group server -c requirements/cpu.txt -o requirements/server.txt
	@$(COMPILE) pyproject.toml --extra cpu --group dev -c requirements/cpu.txt -o requirements/dev.txt
	@[ ! -f mkdocs.yml ] || $(COMPILE) --group docs -c requirements/dev.txt -o requirements/docs.txt
	@$(COMPILE) --group cluster -c requirements/cpu.txt -o requirements/cluster.txt
	@$(COMPILE) --group template -c requirements/cpu.txt -o requirements/template.txt
	@$(COMPILE) --group jax -c requirements/cpu.txt -o requirements/jax.txt
	@printf '%s\n' cuda-bindings cuda-toolkit nvidia-cudnn-cu13 nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvshmem-cu13 triton >requirements/.no-cuda
	@[ ! -f requirements/torch.txt ] || sed '/^torch==.*+cpu/,$$d' requirements/torch.txt >requirements/.torch
	@$(COMPILE) --group torch --excludes requirements/.no-cuda -c requirements/cpu.txt -o requirements/.torch; rm requirements/.no-cuda
	@{ sed "s/^\(torch==[^ ]*\)/\1 ; sys_platform != 'linux'/" requirements/.torch; grep -v '^#' requirements/torch-linux.pins; } >requirements/torch.txt
	@rm requirements/.torch
	@$(COMPILE) --group build -c requirements/cpu.txt -o requirements/build.txt
	@$(COMPILE) --group uv -o requirements/uv.txt

clean:  ## remove the environment and caches; records in runs/ stay
	@rm -rf "$(VENV)" .legacy build src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# --- set-up: .ci/environment says what each level is, and finds out by itself whether it is there --------------------

.PHONY: FORCE
setup-%: FORCE
	@$(SETUP) $*

# By the name of the mark that it leaves: make .venv/.train
%/.train: FORCE
	@$(SETUP) train

%/.dev: FORCE
	@$(SETUP) dev
