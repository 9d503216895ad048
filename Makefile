# The verbs of this repository. PYTHON may name another interpreter: make test PYTHON=.venv/bin/python
PYTHON ?= python

.PHONY: help check format test slow parity bench figures bad_runs proven demo demo-full

# What the demonstrations compare, and how.
FASHION = experiments/fashion
ORDERINGS = $(foreach name,raster next_scale next_neighbor next_frequency,$(FASHION)/$(name).yaml)
FLOWS = $(foreach name,raster masked next_scale,$(FASHION)/$(name).yaml+overlays/flow.yaml)
MEASURED = --guidance_scale 2 --split test --num_images 1000

help: ## list the verbs
	@grep -E '^[a-z_-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 11

check: ## lint, format, types, spelling
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m codespell_lib arlab tests docs experiments README.md Makefile

format: ## mend what the linter can
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

test: ## the default tests
	$(PYTHON) -m pytest -m "not slow and not gpu" -n 2

slow: ## the tests that take minutes
	$(PYTHON) -m pytest -m "slow" --timeout=3600

parity: ## measured differences to published implementations
	$(PYTHON) -m tests.parity.report

bench: ## training overhead, cached sampling and training on cached tokens, as ratios in one run
	$(PYTHON) -m tests.benchmarks.training_overhead
	$(PYTHON) -m tests.benchmarks.cached_sampling
	$(PYTHON) -m tests.benchmarks.cached_training

figures: ## agreement, FID@1000, precision and recall of a generator run: make figures RUN=runs/fashion/raster
	$(PYTHON) -m tests.benchmarks.generation_figures $(RUN)

bad_runs: ## train what docs/reading-a-run.md shows, its figures and plots (up to an hour on 2 cores)
	$(PYTHON) -m tests.benchmarks.bad_runs

proven: ## write runs into docs/proven.md: make proven RUN="runs/fashion/raster/3c1ae521 ..."
	$(PYTHON) -m tests.benchmarks.proven $(RUN)

demo: ## four orderings compared: tokenizers, generators, a report (up to 20 minutes on 2 cores)
	$(PYTHON) -m arlab compare $(ORDERINGS) --budget steps=400 $(MEASURED) --out comparisons/demo

demo-full: ## the four, and three of them with a flow, at full length and three seeds each (hours on 2 cores)
	$(PYTHON) -m arlab compare $(ORDERINGS) $(FLOWS) --seeds 3 $(MEASURED) --out comparisons/demo-full
