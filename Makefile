# What a developer and the CI run. Each target first makes .venv what requirements.lock says
# (scripts/environment.sh: once, then a check of a stamp). `make PYTHON=/path/to/python3.11 ...`
# names the interpreter; `make test ARGS="-k gate"` passes arguments on to pytest.

SHELL := bash
BIN := .venv/bin
ARGS ?=
export PYTHON
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME VIRTUAL_ENV
# Two test workers on two cores: one thread each.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: help environment demo test test-slow check format bench lock clean

help:
	@echo "make demo | test | test-slow | check | format | bench | lock | clean"

environment:
	@bash scripts/environment.sh

demo: environment
	$(BIN)/audit demo

test: environment
	$(ONE_THREAD) $(BIN)/python -m pytest -n 2 --dist loadscope $(ARGS)

test-slow: environment
	$(BIN)/python -m pytest -m slow --timeout 3600 $(ARGS)

# All four run, so that one round shows all there is to mend.
check: environment
	@failed=""; \
	$(BIN)/ruff format --check . || failed="$$failed format"; \
	$(BIN)/ruff check . || failed="$$failed ruff"; \
	$(BIN)/mypy || failed="$$failed mypy"; \
	$(BIN)/lint-imports --no-logo || failed="$$failed imports"; \
	if [ -n "$$failed" ]; then echo "check failed:$$failed" >&2; exit 1; fi; \
	echo "check passed"

format: environment
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: environment
	@shopt -s nullglob; files=(benchmarks/[a-z]*.py); \
	if [ $${#files[@]} -eq 0 ]; then echo "no benchmarks yet"; fi; \
	for file in "$${files[@]}"; do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

# Keeps the locked versions that still fit; `make lock ARGS=--upgrade` takes the newest.
lock:
	@bash scripts/environment.sh lock $(ARGS)

# What can be made again; runs/, data/ and ledger/ stay.
clean:
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find audit training attacks reports tests -name __pycache__ -type d -prune -exec rm -rf {} +
