# Everything a fresh Debian machine needs is set up here: python3 (3.11+), pip, venv and make.
#
#   make demo        the whole story on real packages (indextrust demo)
#   make drills      six compromises rehearsed, from the theft to the last client (docs/drills)
#   make test        what CI runs: format, lint, types, import directions, tests
#   make test-long   the same with the tests that take minutes
#   make bench-client
#                    the client's cost beside tuf's own Updater, in one run
#   make bench-repository
#                    what publishing costs beside python-tuf's Metadata API, in one run
#   make bench-pypi  importing and publishing at PyPI's size (hours, 60 GB: SCALE=100 divides both)
#   make bench-audit a checkpoint and an audit of a million files (10 GB: SCALE=10 for a tenth)
#   make conformance SUITE=path/to/tuf-conformance
#                    the public TUF client conformance suite, from a checkout of yours
#   make system      Debian packages that some targets need (root, or the names to install)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
SUITE ?=
PYPI_FOLDER ?= /var/tmp/indextrust-pypi
AUDIT_FOLDER ?= /var/tmp/indextrust-audit
SCALE ?= 1
SUITE_VENV := $(VENV)/suite

# command=package pairs, see .ci/system
SYSTEM := faketime=faketime
TEST_SYSTEM := softhsm2-util=softhsm2
LONG_SYSTEM := node=nodejs npm=npm

DRILLS := $(addprefix drill-,1 2 3 4 5 6)

.PHONY: $(DRILLS) demo drills test test-long bench-client bench-repository bench-pypi bench-audit check conformance system clean

demo: $(VENV)/.cli
	$(BIN)/indextrust demo

# Two at a time, each one's words together.
drills: $(VENV)/.cli
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target $(DRILLS)

$(DRILLS): drill-%:
	$(BIN)/indextrust drill $*

test: check
	.ci/system $(TEST_SYSTEM)
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not long"

test-long: check
	.ci/system $(TEST_SYSTEM) $(LONG_SYSTEM)
	$(BIN)/python -m pytest -n 2 --dist worksteal

bench-client: $(VENV)/.dev
	$(BIN)/python benchmarks/client.py

bench-repository: $(VENV)/.dev
	$(BIN)/python benchmarks/repository.py

bench-pypi: $(VENV)/.dev
	$(BIN)/python benchmarks/pypi.py --folder "$(PYPI_FOLDER)" --scale $(SCALE)

bench-audit: $(VENV)/.dev
	$(BIN)/python benchmarks/audit.py --folder "$(AUDIT_FOLDER)" --scale $(SCALE)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The suite pins other versions of tuf and pytest than ours, so it lives in a venv of its own,
# and calls our client, with our python, through tests/conformance/client.
conformance: system $(VENV)/.dev
	@test -n "$(SUITE)" || { echo "make conformance SUITE=path/to/a/checkout/of/tuf-conformance" >&2; exit 2; }
	test -x $(SUITE_VENV)/bin/python || $(PYTHON) -m venv $(SUITE_VENV)
	$(SUITE_VENV)/bin/python -m pip --quiet --disable-pip-version-check install "$(abspath $(SUITE))"
	cd "$(abspath $(SUITE))" && "$(CURDIR)/$(SUITE_VENV)/bin/python" -m pytest tuf_conformance \
		-p no:cacheprovider -o addopts= \
		--entrypoint "$(CURDIR)/$(BIN)/python $(CURDIR)/tests/conformance/client"

system:
	.ci/system $(SYSTEM) $(TEST_SYSTEM) $(LONG_SYSTEM)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# uv is for the demo's third act. `pip install --group` needs pip 25.1.
$(VENV)/.cli: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install -e '.[cli]' 'uv>=0.13'
	touch $@

$(VENV)/.dev: $(VENV)/.cli
	$(PIP) install -e '.[cli]' --group dev
	touch $@
