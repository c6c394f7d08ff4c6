# Everything here works in .venv, which the first target that needs it makes. Nothing else is
# touched. `make PYTHON=/path/to/python3.12 …` chooses the Python; by itself it takes the first of
# 3.11 to 3.13 that it finds.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:

# Not from the environment, where others use these names: `clean` deletes two of them.
VENV := .venv
PYTHON ?=
EXTRAS := train,sim,ros,lerobot,hdf5,web,test,dev,docs
OUT := demo_output
STAMP := $(VENV)/.installed
RUN := $(VENV)/bin/python -m
SARNN := $(VENV)/bin/sarnn

# A sourced ROS, or the wheels of another virtual environment, must not mix with the wheels in ours.
ifneq ($(AMENT_PREFIX_PATH)$(_ROS_WHEELS_BOOTSTRAP_COMPLETE),)
unexport LD_LIBRARY_PATH
endif
unexport AMENT_PREFIX_PATH COLCON_PREFIX_PATH CMAKE_PREFIX_PATH PYTHONPATH PYTHONHOME
unexport RMW_IMPLEMENTATION ROS_DISTRO ROS_PYTHON_VERSION ROS_VERSION
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
# Every process would compile what it imports: hundreds are started here.
unexport PYTHONDONTWRITEBYTECODE

# PyTorch's own index has builds without CUDA, 3 GB smaller: make TORCH=cpu demo
ifeq ($(TORCH),cpu)
export PIP_EXTRA_INDEX_URL := https://download.pytorch.org/whl/cpu
endif

.PHONY: help
help:  ## show this
	@echo "usage: make TARGET [PYTHON=python3.12] [TORCH=cpu]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{printf "%-19s%s\n", $$1, $$2}'

$(STAMP): setup.py setup.cfg pyproject.toml tools/bootstrap.py
	@command -v "$(or $(PYTHON),python3)" >/dev/null || { \
	  echo "error: '$(or $(PYTHON),python3)' is not there" >&2; \
	  echo "  remedy: install Python 3.11, 3.12 or 3.13, or name one: make PYTHON=/path/to/python3.12" >&2; \
	  exit 1; }
	@"$(or $(PYTHON),python3)" tools/bootstrap.py --venv $(VENV) --extras $(EXTRAS) $(if $(PYTHON),--python "$(PYTHON)")

.PHONY: install
install: $(STAMP)  ## make .venv with everything in it

.PHONY: demo
demo: $(STAMP)  ## demonstrate, record, train and grasp, in simulation, over ROS 2
	@$(SARNN) demo --out "$(OUT)"

.PHONY: demo-clean
demo-clean:  ## forget what the demo made, to start it over
	@[ ! -e "$(OUT)" ] || [ -e "$(OUT)/.demonstrate" ] || { \
	  echo "error: $(OUT): no demo has made this" >&2; \
	  echo "  remedy: delete it by hand, if it is to go" >&2; exit 1; }
	rm -rf "$(OUT)"

# The ROS tests wait much, for real time. What only computes runs beside them, on cores that they
# do not want at the moment. The lines of each say whose they are.
WHEN_IDLE := $(shell command -v chrt >/dev/null && echo chrt --idle 0 || echo nice -n 19)
.PHONY: test
test: $(STAMP)  ## lint, then all tests
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(MAKE) --no-print-directory -j 3 mypy test-unit test-ros

.PHONY: mypy test-unit test-ros
mypy test-unit test-ros: SHELL := bash
mypy test-unit test-ros: .SHELLFLAGS := -o pipefail -c
# Ctrl-C is for what is before it.
mypy test-unit test-ros: SAYS = 2>&1 | (trap '' INT; exec sed -u 's/^/$(@:test-%=%) | /')
mypy: $(STAMP)
	@$(WHEN_IDLE) $(RUN) mypy $(SAYS)

# They may wait long for an idle core, and then do not hang.
test-unit: $(STAMP)  ## the tests without ROS
	@$(WHEN_IDLE) $(VENV)/bin/pytest -n 2 --dist worksteal --timeout 900 test/unit $(ARGS) $(SAYS)

# The nodes of a file are shared. With three processes for two cores they were late too often.
test-ros: $(STAMP)  ## the tests with ROS nodes
	@$(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder test/system test/ros $(ARGS) $(SAYS)

.PHONY: coverage
coverage: $(STAMP)  ## which lines the tests run through, htmlcov/index.html
	@$(VENV)/bin/pytest -n 2 --dist worksteal --cov --cov-report= test/unit $(ARGS)
	@$(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder --cov --cov-append \
	  --cov-report=term --cov-report=html test/system test/ros $(ARGS)

.PHONY: test-kilted
test-kilted:  ## the ROS tests on ROS 2 Kilted, in a .venv-kilted of its own
	@$(MAKE) VENV=.venv-kilted EXTRAS=train,sim,kilted,lerobot,hdf5,web,test .venv-kilted/.installed
	@.venv-kilted/bin/pytest test/ros $(ARGS)

.PHONY: test-web
test-web: $(STAMP)  ## the page of `sarnn web` in a real browser, Chromium
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	  command -v google-chrome >/dev/null || { \
	  echo "error: there is no Chromium" >&2; \
	  echo "  remedy: apt-get install chromium" >&2; exit 1; }
	@$(VENV)/bin/pip install -q 'playwright>=1.45'
	@$(VENV)/bin/pytest test/ros/test_web_browser.py $(ARGS)

.PHONY: lint
lint: $(STAMP)  ## ruff and mypy
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy

.PHONY: format
format: $(STAMP)  ## format the code
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

.PHONY: docs
docs: $(STAMP)  ## build the documentation site, docs/_build/index.html
	@$(WHEN_IDLE) $(RUN) sphinx -b html -W --keep-going -q docs docs/_build
	@echo "docs/_build/index.html"

.PHONY: benchmark
benchmark: $(STAMP)  ## measure speed and latency (minutes)
	@$(RUN) benchmark

.PHONY: benchmark-tasks
benchmark-tasks: $(STAMP)  ## success on public tasks, in a .venv-tasks of its own (hours; goes on where it was)
	@ldconfig -p | grep -q libEGL.so.1 || { \
	  echo "error: libEGL.so.1 is not there, and MuJoCo renders with it" >&2; \
	  echo "  remedy: apt-get install libegl1" >&2; exit 1; }
	@$(MAKE) VENV=.venv-tasks EXTRAS=train,test,benchmark .venv-tasks/.installed
	@failed=0; .venv-tasks/bin/python -m benchmark.tasks $(ARGS) || failed=1; \
	$(RUN) benchmark.tasks $(ARGS) || failed=1; \
	exit $$failed  # the second time for the lift task, whose simulator wants a newer MuJoCo

.PHONY: benchmark-peers
benchmark-peers: $(STAMP) .venv-lerobot/.installed  ## LeRobot's policies on the same bags (days; goes on where it was)
	@$(MAKE) VENV=.venv-tasks EXTRAS=train,test,benchmark .venv-tasks/.installed
	@.venv-tasks/bin/python -m benchmark.peers $(ARGS)

.PHONY: soak
soak: $(STAMP)  ## 30 minutes of random faults against the real node, 200 endings
	@$(VENV)/bin/pytest -m soak -s -o timeout=0

# LeRobot 0.6 wants a newer Python than the ROS wheels, and another torch than ours.
.venv-lerobot/.installed:
	@for python in "$(PYTHON)" python3.13 python3.12; do \
	  [ -n "$$python" ] && "$$python" -m venv .venv-lerobot 2>/dev/null && break; done; \
	  [ -x .venv-lerobot/bin/pip ] || { \
	  echo "error: LeRobot needs Python 3.12 or 3.13 with venv" >&2; \
	  echo "  remedy: apt-get install python3.13-venv, or name one: make PYTHON=/path/to/python3.12 test-lerobot" >&2; \
	  exit 1; }
	@.venv-lerobot/bin/pip install -q 'lerobot[dataset,diffusion]==0.6.1'
	@touch $@

.PHONY: test-lerobot
test-lerobot: $(STAMP) .venv-lerobot/.installed  ## LeRobot reads what we write, and the other way (7 GB)
	@SARNN_LEROBOT_PYTHON=$(CURDIR)/.venv-lerobot/bin/python $(VENV)/bin/pytest -m lerobot $(ARGS)

.PHONY: clean
clean: demo-clean  ## remove .venv and all that was built
	rm -rf "$(VENV)" .venv-kilted .venv-tasks .venv-lerobot build install log docs/_build docs/_generated *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
