# make demo   from a fresh clone to a trained core: the generated Verilog learns handwritten digits
# make test   every test, on all cores; needs Icarus Verilog besides (Debian: apt-get install iverilog)
# make lint   the linter and the type checker
# make bitstreams  place and route for every FPGA board, with three seeds each (hours)
# make clean  away with everything that was made
#
# All work in .venv, made anew when pyproject.toml or constraints.txt change. PYTHON names another
# Python (3.11 or newer), PIP_FLAGS further flags of pip.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_FLAGS ?=
SEED ?= 0

BIN := .venv/bin
DEMO_STAMP := .venv/.demo
TEST_STAMP := .venv/.test

.PHONY: demo test lint bitstreams clean tools
.DEFAULT_GOAL := test
.DELETE_ON_ERROR:

demo: $(DEMO_STAMP)
	$(BIN)/relif train digits --board sim --seed $(SEED) --baselines --report runs/demo -v

test: $(TEST_STAMP) tools
	$(BIN)/pytest --numprocesses auto --dist worksteal

bitstreams: $(DEMO_STAMP)
	$(BIN)/pip install $(PIP_FLAGS) --quiet -c constraints.txt -e '.[sim,boards]'
	for board in $$($(BIN)/relif boards --json | $(BIN)/python -c \
	  'import json, sys; print(*json.load(sys.stdin)["boards"])'); do \
	  $(BIN)/relif build --board $$board --seeds 1,2,3 || exit 1; \
	done
	$(BIN)/relif boards --built build --output docs/boards.md

lint: $(TEST_STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf .venv build dist runs .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment of the demo, and the rest that tests and linter need.
$(DEMO_STAMP): pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Relif needs Python 3.11 or newer: set PYTHON")'
	"$(PYTHON)" -m venv --clear .venv
	$(BIN)/pip install $(PIP_FLAGS) --quiet -c constraints.txt -e '.[sim]'
	touch $@

$(TEST_STAMP): $(DEMO_STAMP)
	$(BIN)/pip install $(PIP_FLAGS) --quiet -c constraints.txt -e '.[sim,boards,usb,test,dev]'
	touch $@

tools:
	@for tool in iverilog g++; do command -v $$tool > /dev/null || \
	  { echo "make test needs $$tool, which is not on PATH (Debian: apt-get install iverilog g++ make)" >&2; exit 1; }; \
	done
