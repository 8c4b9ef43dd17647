.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCAL_DIR ?= .etlkit
LOCATION ?= US
SEED ?= 1

# Tests, jobs and servers are many processes: without byte code each of them would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo article unit test docs docs-serve pictures faults fuzz reference tools engines cloud bench bench-peers bench-local lint audit dist sbom image changelog matrix clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "make %-11s %s\n", $$1, $$2}'

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "etlkit needs Python 3.11 or newer; try: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.local: pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -e '.[local]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.local

demo: $(VENV)/.local ## Run the main job on the sample photos and print what was found
	$(BIN)/python -m etlkit.local put photos/*.jpg gs://bqml-vision/ --local-dir $(LOCAL_DIR)
	$(BIN)/python -m etlkit.local object-table bqml_vision.object_table 'gs://bqml-vision/*' --local-dir $(LOCAL_DIR)
	$(BIN)/python -m etlkit.run jobs.vision_objects --local --local-dir $(LOCAL_DIR)
	$(BIN)/python -m etlkit.local sql --file jobs/sql/show_objects.sql --local-dir $(LOCAL_DIR)
	@echo 'This was one job. "make article" runs the whole workflow of SQL, models and Vision, and makes pages to look at.'

article: $(VENV)/.dev ## Run the whole workflow of SQL, models and Vision on the sample photos, and make pages to look at
	$(BIN)/python -m etlkit.local put photos/*.jpg gs://bqml-vision/ --local-dir $(LOCAL_DIR)
	$(BIN)/python -m etlkit.local put -r etlkit/local/models/savedmodel_resnet_stand_in/* gs://resnet-model/ --local-dir $(LOCAL_DIR)
	$(BIN)/python -m etlkit.run jobs.workflow --local --local-dir $(LOCAL_DIR) --var page=$(LOCAL_DIR)/photos.html --html $(LOCAL_DIR)/workflow.html >/dev/null
	$(BIN)/python -m etlkit.local sql --file jobs/sql/show_ranking.sql --local-dir $(LOCAL_DIR)
	@echo 'Open $(LOCAL_DIR)/photos.html for the photos and what each model found, and $(LOCAL_DIR)/workflow.html for the run.'

unit: $(VENV)/.dev ## Run the unit tests: no server and few processes, about a minute on two cores
	$(BIN)/python -m pytest -q -n 4 --dist loadfile tests/unit

test: $(VENV)/.dev ## Run the whole test suite, lint and type checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p .mypy_cache
	@echo 'mypy and bandit run beside the tests; what they say comes at the end'
	@{ $(BIN)/mypy && $(BIN)/bandit --quiet --configfile pyproject.toml --recursive etlkit transforms jobs; } \
	    >.mypy_cache/said.txt 2>&1 & checks=$$!; \
	  : 'What has no byte code yet is compiled here: else each of the four processes would compile all of it.'; \
	  $(BIN)/python -c 'from tests import warm_python; warm_python.import_all()'; \
	  $(BIN)/python -m pytest -q --collect-only >/dev/null; \
	  $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder; tests=$$?; \
	  wait $$checks; said=$$?; cat .mypy_cache/said.txt; test $$tests -eq 0 -a $$said -eq 0

docs: $(VENV)/.dev ## Build the site of the documentation into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo 'Open build/site/index.html; for the search, use "make docs-serve".'

docs-serve: $(VENV)/.dev ## Show the site on http://127.0.0.1:8000 and build it anew at each change
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve --watch etlkit

pictures: $(VENV)/.dev ## Make the pictures of the documentation anew: needs Chromium, and a machine that does nothing else
	$(BIN)/python -m tests.docs.pictures $(ARGS)

faults: $(VENV)/.dev ## Run the long form of the fault tests (1,240 kills, 100 interleavings, an outage of a minute) and print the figures
	ETLKIT_KILLS=200 ETLKIT_HTTP_KILLS=100 ETLKIT_WORKFLOW_KILLS=20 ETLKIT_IMAGES=9600 ETLKIT_OUTAGE_S=60 ETLKIT_INTERLEAVINGS=100 ETLKIT_JOBS=20 ETLKIT_STATEMENTS=all ETLKIT_PROVE=1 \
	  ETLKIT_EXAMPLES=500 ETLKIT_WORKER_KILLS=200 ETLKIT_WORKERS=16 ETLKIT_WORKER_ROWS=20000 ETLKIT_RATE=200 ETLKIT_TEST_TIMEOUT_S=3000 \
	  $(BIN)/python -m pytest tests/faults -rA -s --timeout 3600

fuzz: $(VENV)/.dev ## Read 5,000 random and damaged files of each kind, run 2,000 jobs whose threads switch at any line and 2,000 random hooks, and try 1,000 values for each property: make fuzz SEED=7 for other ones
	ETLKIT_FUZZ=5000 ETLKIT_RACES=1000 ETLKIT_TOUCHED=2000 ETLKIT_SEED=$(SEED) $(BIN)/python -m pytest tests/fuzz tests/unit/engine/test_races.py tests/unit/engine/test_touched_keys.py tests/unit/bigquery/shards -rA --timeout 3600
	ETLKIT_EXAMPLES=1000 $(BIN)/python -m pytest tests/unit tests/bugs -m hypothesis -q --timeout 3600

reference: $(VENV)/.dev ## Compare local SQL with GoogleSQL's evaluator: all expressions over both calls, and 20,000 generated ones
	ETLKIT_REFERENCE=20000 ETLKIT_SEED=$(SEED) $(BIN)/python -m pytest tests/emulator/test_reference.py -rA -s

$(VENV)-tools/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)-tools
	$(VENV)-tools/bin/python -m pip install --quiet --disable-pip-version-check '.[tools]'
	@touch $@

tools: $(VENV)/.dev $(VENV)-tools/.done ## Test pandas-gbq, dbt, SQLAlchemy, ibis, dlt, sqlmesh and bigframes against the local world
	ETLKIT_TOOLS_PYTHON=$(abspath $(VENV)-tools/bin/python) $(BIN)/python -m pytest tests/tools -rA --timeout 900 $(ARGS)

$(VENV)-engines/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)-engines
	$(VENV)-engines/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -e '.[beam,local,ray]'
	@touch $@

engines: $(VENV)/.dev $(VENV)-engines/.done ## Test the ways to share a run: one process, workers, Apache Beam, Ray, with kills
	ETLKIT_ENGINES_PYTHON=$(abspath $(VENV)-engines/bin/python) $(BIN)/python -m pytest tests/engines -rA --timeout 900 $(ARGS)

cloud: $(VENV)/.dev ## Run the acceptance tests in a Google Cloud project: make cloud PROJECT=my-project LOCATION=US
	@test -n "$(PROJECT)" || { echo 'which project? make cloud PROJECT=my-project LOCATION=US'; exit 2; }
	ETLKIT_CLOUD_PROJECT=$(PROJECT) ETLKIT_CLOUD_LOCATION=$(LOCATION) \
	  $(BIN)/python -m pytest tests/cloud -W default --timeout 1800 -p no:cacheprovider $(ARGS)

bench: $(VENV)/.dev ## Measure speed and memory in less than ten minutes, and write the table of docs/performance.md
	$(BIN)/python -m tests.bench.table $(ARGS)

$(VENV)-peers/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check '.[bench]'
	@touch $@

bench-peers: $(VENV)/.dev $(VENV)-peers/.done ## Measure other libraries, and add them to the table
	$(BIN)/python -m tests.bench.table peers --peers-python $(abspath $(VENV)-peers/bin/python)

bench-local: $(VENV)/.dev ## Measure the local world: requests, predictions, checks of SQL, a page in a browser
	$(BIN)/python -m tests.bench.predict
	$(BIN)/python -m tests.bench.cost
	$(BIN)/python -m tests.bench.check
	$(BIN)/python -m tests.bench.local_server
	$(BIN)/python -m tests.bench.results_page

lint: $(VENV)/.dev ## Fix what ruff can fix, then check types and security
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive etlkit transforms jobs

$(VENV)-release/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)-release
	$(VENV)-release/bin/python -m pip install --quiet --disable-pip-version-check '.[release]'
	@touch $@

RELEASE := $(VENV)-release/bin

dist: $(VENV)-release/.done ## Build the sdist and the wheels into dist/, without the models and with them, and check all
	rm -rf dist
	$(RELEASE)/python -m build --sdist --outdir dist
	ETLKIT_WHEEL=slim $(RELEASE)/python -m build --wheel --outdir dist
	$(RELEASE)/python -m build --wheel --outdir dist etlkit/local/models
	$(RELEASE)/twine check --strict dist/*

sbom: $(VENV)-release/.done ## Write dist/sbom.json: what a plain installation brings along, in CycloneDX
	$(PYTHON) -m venv --clear --without-pip $(VENV)-release/plain
	$(RELEASE)/python -m pip --python $(VENV)-release/plain/bin/python install --quiet --disable-pip-version-check .
	$(RELEASE)/cyclonedx-py environment $(VENV)-release/plain/bin/python --pyproject pyproject.toml --output-reproducible --output-file dist/sbom.json

image: ## Build the image of the jobs with Docker or Buildah, and check its size and its user
	$(PYTHON) -m tests.image $(ARGS)

changelog: ## Check that the changelog and the code have VERSION: make changelog VERSION=1.2.3
	@grep -qF '## [$(VERSION)]' CHANGELOG.md || { echo 'CHANGELOG.md has no section [$(VERSION)]'; exit 1; }
	@grep -qF '"$(VERSION)"' etlkit/_version.py || { echo 'etlkit/_version.py has another version than $(VERSION)'; exit 1; }

matrix: $(VENV)-release/.done ## Run the unit tests and a job with the oldest, the newest and Apache Beam's packages, on each Python here
	$(RELEASE)/python -m tests.matrix $(ARGS)

audit: $(VENV)/.dev $(VENV)-release/.done ## Look up known vulnerabilities of all installed packages; needs the index's service for that
	$(BIN)/python -m pip freeze --disable-pip-version-check --exclude-editable > $(VENV)-release/frozen.txt
	$(VENV)-release/bin/pip-audit --strict --no-deps --disable-pip --requirement $(VENV)-release/frozen.txt \
	  || { echo 'Either a package has a known vulnerability, or the service did not know one of them: it then has not been audited. See above.'; exit 1; }

clean: ## Remove the virtual environment, caches and local data
	rm -rf $(VENV) $(VENV)-engines $(VENV)-tools $(VENV)-peers $(VENV)-release .matrix dist $(LOCAL_DIR) .mypy_cache .pytest_cache .ruff_cache .hypothesis
