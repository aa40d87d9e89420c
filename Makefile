# Each command does its own set-up: a Debian or Ubuntu machine with Python 3.10 to 3.14 is enough.

.PHONY: help demo test fuzz crash test-lowest emulated-device images image-locks lint types docs check clean

help:
	@echo "make demo   run the whole chain on real images (recipes/quickstart.yaml)"
	@echo "make test   run the tests"
	@echo "make fuzz   feed 100,000 hostile inputs to everything that reads one"
	@echo "make test-lowest   run them with the lowest versions of all dependencies"
	@echo "make crash  kill whole runs 200 times; the table is written to benchmarks/results/crash.md"
	@echo "make emulated-device   run the chain on an emulated aarch64 device behind SSH (as root)"
	@echo "make images  build the container images on stand-ins for their bases and run them (as root)"
	@echo "make image-locks   pin the newest versions of what the container images install"
	@echo "make lint   check style and formatting"
	@echo "make types  check types"
	@echo "make docs   build the documentation site into site/"
	@echo "make check  lint, types and test"
	@echo "make clean  remove .venv and .venv-lowest; finished runs in runs/ stay"

demo: .venv/.installed
	.venv/bin/tmkd-deploy run recipes/quickstart.yaml

test: .venv/.installed
	.venv/bin/pytest

# It goes on where an interrupted one stopped, and stops by itself after 25 minutes.
fuzz: .venv/.installed
	.venv/bin/python tests/fuzz/campaign.py

test-lowest: .venv-lowest/.installed
	.venv-lowest/bin/pytest

# CRASH_SEED picks other instants, CRASH_KILLS another number of kills.
crash: .venv/.installed
	CRASH_KILLS=$${CRASH_KILLS:-200} CRASH_RESULTS=benchmarks/results \
		.venv/bin/pytest -n 0 -s tests/faults/test_kills.py

emulated-device: .venv/.installed
	sh .ci/emulator.sh
	.venv/bin/pytest -rs -m '' tests/integration/test_emulated_device.py

images: .venv/.installed
	apt-get install -y -qq --no-install-recommends buildah debootstrap >/dev/null
	.venv/bin/pytest -rs -m '' tests/integration/test_container_images.py

# setuptools builds the package itself. The first lock serves Jetsons too, hence Python 3.10.
LOCK = echo 'setuptools>=77' | .venv/bin/python -m uv pip compile --quiet --upgrade --no-config \
	--universal --generate-hashes --no-annotate --custom-compile-command 'make image-locks' \
	pyproject.toml - --output-file
image-locks: .venv/.installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOCK) docker/requirements-onnxruntime.txt --python-version 3.10 --extra onnxruntime
	$(LOCK) docker/requirements-train.txt --python-version 3.13 \
		--extra train --extra track --extra tensorrt-rtx

lint: .venv/.installed
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/lint-imports --no-cache >/dev/null || .venv/bin/lint-imports --no-cache
	.venv/bin/hadolint docker/Dockerfile.cpu docker/Dockerfile.jetson docker/Dockerfile.train
	.venv/bin/python tools/prose/check.py

types: .venv/.installed
	.venv/bin/mypy

docs: .venv/.installed-docs
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

check: lint types test

clean:
	rm -rf .venv .venv-lowest

# The stamp is newer than pyproject.toml while nothing has to be installed.
.venv/.installed: pyproject.toml
	sh .ci/venv.sh
	touch $@

.venv-lowest/.installed: pyproject.toml
	sh .ci/venv.sh lowest
	touch $@

.venv/.installed-docs: .venv/.installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[docs]"
	touch $@
