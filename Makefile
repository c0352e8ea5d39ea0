# Python 3.11+, git and make are all that has to be there; the rest goes into .venv.

BIN := .venv/bin
# A stamp is written when an installation is complete. The dev one holds all that the other does.
INSTALLED := .venv/.installed
INSTALLED_DEV := .venv/.installed-dev
INSTALLED_BENCH := .venv-bench/.installed

# Tests are spread over this many processes, one thread each, file by file in the order of
# tests/conftest.py.
WORKERS := 2

.PHONY: help demo test test-servers faulty-server check fuzz bench faults test-wheel hostile audit clean

help:
	@echo "make demo [OUT=DIR] [SEED=N]  run Constitutional AI on the embedded microworld"
	@echo "make test [WORKERS=N]         the checks, then all tests"
	@echo "make test-servers             ask llama.cpp's server, which is compiled first (minutes)"
	@echo "make faulty-server            10,000 requests to a server that fails (half an hour)"
	@echo "make check                    formatting, lint and types"
	@echo "make fuzz [CASES=N]           a million broken inputs for everything that reads (half an hour)"
	@echo "make bench [ONLY=NAMES]       every stage beside its peers (an hour), or some of them"
	@echo "make faults [ONLY=NAMES]      kills, damage and full disks at full size (half an hour)"
	@echo "make test-wheel               build the package and try it in an empty environment"
	@echo "make hostile                  every attack in every place, and docs/hostile.json (half an hour)"
	@echo "make audit                    known weaknesses of the locked versions, where the index tells"
	@echo "make clean                    remove the .venv*, caches and built packages; runs stay"
	@echo
	@echo "The first one sets up .venv; PYTHON=python3.12 chooses what it is made with."

demo: $(INSTALLED)
	@$(BIN)/cai demo $(if $(OUT),--out "$(OUT)") $(if $(SEED),--seed "$(SEED)")

test: check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-servers: $(INSTALLED_DEV)
	BIN=$(BIN) scripts/test-servers

faulty-server: $(INSTALLED_DEV)
	$(BIN)/python scripts/faulty_server.py

check: $(INSTALLED_DEV)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

# docs/fuzzing.md; the figures of all targets are renewed
fuzz: $(INSTALLED_DEV)
	$(BIN)/python -m pip install -qq --disable-pip-version-check -r tests/fuzz/requirements.txt
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(if $(CASES),--cases $(CASES)) \
	    --out docs/fuzzing.json --table docs/fuzzing.md

# ROUNDS=N THREADS=N, and OPTIONS="--device cuda --dtype bfloat16 --random 0.5e9" on a GPU
bench: $(INSTALLED_BENCH)
	.venv-bench/bin/python -m benchmarks.speed $(if $(ROUNDS),--rounds $(ROUNDS)) \
	    $(if $(THREADS),--threads $(THREADS)) $(OPTIONS) $(ONLY)

# SHARE=0.05 does a twentieth of the tries, and writes no document
faults: $(INSTALLED_DEV)
	$(BIN)/python -m tests.faults $(if $(wildcard /dev/shm/.),--folder /dev/shm) \
	    $(if $(SHARE),--share $(SHARE)) $(if $(SHARE),,--write) $(ONLY)

test-wheel: $(INSTALLED_DEV)
	scripts/test-wheel

hostile: $(INSTALLED_DEV)
	CONSTITUTIONAL_HOSTILE=all $(BIN)/pytest tests/hostile tests/web/test_injections.py \
	    tests/web/test_security.py tests/browser/test_hostile_pages.py
	$(BIN)/python -m tests.hostile

audit: $(INSTALLED_DEV)
	$(BIN)/python -m venv .venv-audit
	.venv-audit/bin/pip install -qq --disable-pip-version-check pip-audit
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints-hashed.txt

clean:
	rm -rf .venv .venv-bench .venv-servers .venv-audit .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" scripts/setup
	@touch $@

$(INSTALLED_DEV): pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" scripts/setup dev
	@touch $(INSTALLED) $@

$(INSTALLED_BENCH): pyproject.toml constraints.txt benchmarks/requirements.txt scripts/setup-bench
	@PYTHON="$(PYTHON)" scripts/setup-bench
	@touch $@
