# The verbs of this project. `make help` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# for two cores: most tests wait for what they have started, most of the time
WORKERS ?= 3

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

.PHONY: demo
demo: $(VENV)/ready ## see it work: a conversation, failing calls, a killed worker, an archive
	@$(BIN)/pipeline demo

.PHONY: test
test: $(VENV)/ready ## run the tests on real servers
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal $(ARGS)

.PHONY: again
again: $(VENV)/ready ## run what failed last once more, one after the other
	@echo "== once more, by itself:"
	@$(BIN)/pytest -n 0 -v --last-failed --last-failed-no-failures none $(ARGS)

.PHONY: versions
versions: ## run the tests on every supported Python at hand
	@tools/versions.sh

.PHONY: check
check: $(VENV)/ready ## lint, types, import layers, docs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m tools.docs
	@$(BIN)/python -m tools.dashboards

.PHONY: format
format: $(VENV)/ready ## format the code, bring the generated docs up to date
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .
	@$(BIN)/python -m tools.docs --write
	@$(BIN)/python -m tools.dashboards --write

# the versions and hashes of requirements.txt, for what the image installs and what builds its wheel
SUBSET = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	--no-annotate --quiet --constraint requirements.txt

.PHONY: lock
lock: $(VENV)/ready ## renew requirements.txt
	@$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
		--upgrade pyproject.toml --extra local --extra otel --group dev --output-file requirements.txt
	@$(SUBSET) pyproject.toml --extra otel --output-file ops/requirements-image.txt
	@echo 'hatchling>=1.27' | $(SUBSET) - --output-file ops/requirements-build.txt

.PHONY: wheel
wheel: $(VENV)/ready ## build the wheel into dist/
	@$(BIN)/python -m hatchling build -t wheel

# Everything comes from the lock, the build backend included, so that nothing unlocked is fetched.
$(VENV)/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v[:2] <= (3, 14))' \
		|| { echo "Python 3.11 to 3.14 is needed; set PYTHON=/path/to/python3"; exit 1; }
	@echo "Installing into $(VENV) …"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
