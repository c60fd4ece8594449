# `make` alone lists what there is. Every target first sets up what it needs; the second time that takes no time.

PYTHON ?= python3
ARGS ?=

# Debian keeps servers in folders that an ordinary account's PATH leaves out.
RUN = PATH="$(CURDIR)/.venv/bin:$$PATH:/usr/local/sbin:/usr/sbin:/sbin"
SET_UP = $(PYTHON) -m bootstrap

.DEFAULT_GOAL := help
.PHONY: help setup secrets demo test torture mutants check bench format clean python dashboards

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: python ## Set up everything for the demo and the tests
	@$(SET_UP) test

demo: python ## Run the demo; options go in ARGS="..."
	@$(SET_UP) runtime
	@$(RUN) .venv/bin/needletrail demo $(ARGS)

secrets: python ## Keys and passwords for a deployment; see --help in ARGS="..."
	@$(SET_UP) runtime
	@PYTHONPATH=deploy .venv/bin/python -m needletrail_deploy $(ARGS)

test: python ## Run all tests, or those named in ARGS="..."; one after the other with ARGS="-n 0"
	@$(SET_UP) test
	@$(RUN) .venv/bin/pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)

torture: python ## Cut the pen's power a million times; see --help in ARGS="..."
	@$(SET_UP) test
	@PYTHONPATH=tests:device:protocol $(RUN) .venv/bin/python -m torture $(ARGS)

mutants: python ## Break the judge in many ways: does any case notice? (5 to 8 minutes)
	@$(SET_UP) test
	@$(RUN) .venv/bin/python tests/gateway/judge_mutants.py $(ARGS)

check: python ## Check format, lint, types and the rules of the house
	@$(SET_UP) check
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	MYPYPATH=protocol:gateway .venv/bin/mypy
	.venv/bin/mypy --strict bootstrap
	MYPYPATH=protocol:gateway:deploy .venv/bin/mypy --strict -p needletrail_deploy
	MYPYPATH=protocol:gateway:dashboards .venv/bin/mypy --strict -p needletrail_dashboards
	@$(RUN) .venv/bin/pytest tests/house -q

bench: python ## Run every benchmark in turn
	@$(SET_UP) test
	@for file in benchmarks/*.py; do \
	    [ -e "$$file" ] || continue; \
	    echo "== $$file"; \
	    $(RUN) .venv/bin/python "$$file" || exit 1; \
	done

dashboards: python ## Render dashboards and alert rules; ARGS="--check" only compares
	@$(SET_UP) test
	@$(RUN) .venv/bin/python -m needletrail_dashboards.render $(ARGS)

format: python ## Format the code and repair what ruff can repair
	@$(SET_UP) check
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

clean: ## Remove .venv, .tools and caches; installed packages stay
	rm -rf .venv .tools .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

python:
	@command -v $(PYTHON) > /dev/null || { \
	    echo "✗ There is no $(PYTHON) here. Install Python 3.11 or newer." >&2; \
	    echo "  On Debian and Ubuntu: sudo apt-get install python3" >&2; \
	    exit 1; }
