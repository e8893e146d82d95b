# make run     prepare everything, start a target with an embedded default array; Ctrl-C stops it
# make test    prepare everything (Debian packages too, as root), check the sources, run all tests
# make lint    only check the sources: ruff, mypy, the layers
# make docs    write the pages of docs/ that are made from the sources
# make bench   measure this target against tgt
# make clean   remove what was prepared; the state folder stays
#
# STATE=folder of the array, PYTHON=interpreter to build .venv with, ARGS=more arguments for mpxtarget or pytest

PYTHON ?= python3
STATE ?= state
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
APT := PATH="$$PATH:/usr/sbin:/sbin" DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0

.PHONY: run test lint docs bench clean packages
.DELETE_ON_ERROR:

run: $(VENV)/installed
	@exec $(BIN)/mpxtarget serve --state $(STATE) --demo $(ARGS)

test: lint packages
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

docs: $(VENV)/installed-dev
	@$(BIN)/python -m mpxtarget.cli.reference > docs/new && mv docs/new docs/cli.md
	@$(BIN)/python -m mpxtarget.cli.commands_page > docs/new && mv docs/new docs/commands.md
	@$(BIN)/python -m tests.conformance

bench: $(VENV)/installed
	@$(BIN)/python tests/tools/packages.py tests/tools/bench-packages.txt
	@$(BIN)/python tests/bench/run.py $(ARGS)

packages: $(VENV)/installed-dev
	@$(BIN)/python tests/tools/packages.py tests/packages.txt

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The package is installed editable: only a change of its metadata makes this necessary again.
$(VENV)/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is older than Python 3.11, or missing: name a newer one, make PYTHON=python3.11" >&2; exit 1; }
	@echo "Preparing $(VENV) (once, about a minute)"
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			$(APT) update && $(APT) install -y --no-install-recommends python3-venv >/dev/null; \
		else \
			echo "Python's venv module is missing: install it as root, apt-get install python3-venv" >&2; exit 1; \
		fi; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --editable .
	@touch $@

# Dependency groups need a newer pip than Debian 12 brings.
$(VENV)/installed-dev: $(VENV)/installed
	@echo "Preparing $(VENV) for tests (once, about a minute)"
	@$(PIP) install 'pip>=25.1'
	@$(PIP) install --group dev
	@touch $@
