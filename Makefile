# `make help` lists what there is. Every variable can be set on the command line.

PYTHON       ?= python3
VENV         ?= .venv
CLUSTER      ?= yolo
TEST_CLUSTER ?= yolo-test
SCENARIO     ?= pipeline
NAMESPACE    ?= yolo-system
IMAGE_TAG    ?= dev
REGISTRY     ?=
CHART_URL    ?=

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS   += --no-print-directory
.DEFAULT_GOAL := help

PY      := $(VENV)/bin/python
CRD     := crds/yoloexperiments.yaml
CHART   := helm/yolo-operator
PROTO   := yolo_operator/toolkit/proto
PROTOC   = $(PY) -m grpc_tools.protoc -I operator $(PROTO)/experiment.proto
RUNNER  := operator/yolo_operator/runner
RUNNER_LINES := 600
# The venv is made anew when what goes into it changes, not when a file is merely touched.
STAMP   := $(VENV)/.stamp-$(shell cat constraints.txt pyproject.toml | sha256sum | cut -c1-16)

# Runs the rest of a recipe's line against a cluster: $(call on,NAME) COMMAND
on = PATH="$(CURDIR)/$(VENV)/bin:$$(hack/cluster bin):$$PATH" KUBECONFIG="$$(hack/cluster kubeconfig --name $(1))" NAMESPACE=$(NAMESPACE)
say = @printf '\n\033[1m== %s\033[0m\n' "$(1)"

.PHONY: help
help:  ## This list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 16

.PHONY: demo
demo: venv  ## A whole experiment on a local cluster, CPU only, watched live
	@$(PY) hack/demo.py --name $(CLUSTER)

.PHONY: test
test:  ## Everything: lint, unit and cluster tests, an experiment and wrong input end to end, the open toolkit
	$(call say,Programs of the local cluster (built once; minutes))
	@hack/cluster build all
	@$(MAKE) lint
	@$(MAKE) alerts
	@$(MAKE) chart-lint
	@$(MAKE) unit
	@$(MAKE) cluster-test
	@$(MAKE) e2e SCENARIO=pipeline
	@$(MAKE) scenario SCENARIO=bad-input
	@$(MAKE) toolkit-test
	$(call say,All passed)
	@tail -qn1 build/unit.log build/cluster-test.log build/toolkit-test.log

# -- Python ---------------------------------------------------------------------------------------------------------------

.PHONY: venv
venv: $(STAMP)  ## .venv with the operator, kubectl-yolo and the tools, as constraints.txt pins them

$(STAMP):
	$(call say,Python environment in $(VENV))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3 ...")'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@rm -f $(VENV)/.stamp-* && touch $@

.PHONY: lint
lint: venv  ## Style, types, imports between rooms, the runner's Python 3.6, generated files
	$(call say,Lint)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/vermin --quiet --no-tips --violations --target=3.6- $(RUNNER)/runner.py
	@test $$(wc -l < $(RUNNER)/runner.py) -le $(RUNNER_LINES) || { echo "$(RUNNER)/runner.py has more than $(RUNNER_LINES) lines"; exit 1; }
	@$(MAKE) generated-is-fresh
	@$(PY) examples/build.py --check
	@$(PY) hack/release check >/dev/null
	@$(MAKE) docs

.PHONY: docs
docs: venv  ## The site of docs/ in build/site (open index.html); fails on a page in no nav entry and on a link or anchor that leads nowhere
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --quiet --strict

.PHONY: generate
generate: venv  ## What is made from the code: the CRD (crds/, the chart's copy), toolkit/proto, pages in docs/, dashboards, the chart's tables
	@mkdir -p crds $(CHART)/files/crds
	$(PY) -m yolo_operator.api.crd $(CRD) $(CHART)/files/$(CRD)
	$(PROTOC) --python_out=operator --pyi_out=operator
	$(PY) -m yolo_operator.api.reference docs/reference/yoloexperiment.md
	$(PY) -m yolo_operator.toolkit.reference docs/toolkits.md
	$(PY) -m yolo_operator.toolkit.runner_data $(RUNNER)/toolkits.json
	$(PY) -m yolo_operator.controller.metrics_page docs/metrics.md
	PYTHONPATH=hack $(PY) -m dashboards $(CHART)/files/dashboards
	$(PY) hack/chart_docs.py

.PHONY: generated-is-fresh
generated-is-fresh: venv
	@mkdir -p build
	@$(PY) -m yolo_operator.api.crd build/crd.yaml
	@for file in $(CRD) $(CHART)/files/$(CRD); do \
	  cmp -s build/crd.yaml $$file || { echo "$$file is not what the models say: make generate"; exit 1; }; done
	@$(PROTOC) --python_out=build --pyi_out=build
	@for file in experiment_pb2.py experiment_pb2.pyi; do \
	  cmp -s build/$(PROTO)/$$file operator/$(PROTO)/$$file || { echo "$$file is not what experiment.proto says: make generate"; exit 1; }; done
	@$(PY) -m yolo_operator.api.reference build/yoloexperiment.md
	@cmp -s build/yoloexperiment.md docs/reference/yoloexperiment.md || \
	  { echo "docs/reference/yoloexperiment.md is not what the models say: make generate"; exit 1; }
	@$(PY) -m yolo_operator.toolkit.reference build/toolkits.md
	@cmp -s build/toolkits.md docs/toolkits.md || { echo "docs/toolkits.md is not what the code says: make generate"; exit 1; }
	@$(PY) -m yolo_operator.toolkit.runner_data build/toolkits.json
	@cmp -s build/toolkits.json $(RUNNER)/toolkits.json || { echo "$(RUNNER)/toolkits.json is not what the tables say: make generate"; exit 1; }
	@$(PY) -m yolo_operator.controller.metrics_page build/metrics.md
	@PYTHONPATH=hack $(PY) -m dashboards build/dashboards
	@diff -rq build/dashboards $(CHART)/files/dashboards || { echo "the dashboards are not what hack/dashboards says: make generate"; exit 1; }
	@cmp -s build/metrics.md docs/metrics.md || { echo "docs/metrics.md is not what the code says: make generate"; exit 1; }
	@$(PY) hack/chart_docs.py --check

.PHONY: alerts
alerts: venv  ## Alerting rules' own tests, every panel's query under a real Prometheus (both from Debian's package)
	$(call say,Alerts)
	@hack/promtool check rules $(CHART)/files/alerts.yaml
	@hack/promtool test rules tests/unit/chart/alerts.test.yaml
	@WITH_PROMETHEUS=1 $(PY) -m pytest -q -p no:cacheprovider tests/unit/hack/test_panels.py

.PHONY: chart-lint
chart-lint: venv  ## helm lint, kubeconform and kube-linter (where it is there) on every golden render; the examples under the CRD
	$(call say,Chart)
	@$(PY) hack/chart-lint

.PHONY: unit
unit: venv  ## Tests without a cluster (those of the chart need helm: hack/cluster bin)
	$(call say,Unit tests)
	@mkdir -p build
	@$(PY) -m pytest tests/unit 2>&1 | tee build/unit.log

# -- Clusters -------------------------------------------------------------------------------------------------------------

.PHONY: up
up:  ## Start the local cluster (CLUSTER=yolo)
	@hack/cluster up --name $(CLUSTER)

.PHONY: down
down:  ## Stop and remove it
	@hack/cluster down --name $(CLUSTER)

.PHONY: images
images:  ## Build both images and load them into CLUSTER
	$(call say,Images into cluster $(CLUSTER))
	@hack/images build all --load $(CLUSTER)

.PHONY: push
push:  ## Build both images and push them under the version (REGISTRY=registry.example.com/ml); prints their digests
	@test -n "$(REGISTRY)" || { echo "make push REGISTRY=registry.example.com/ml"; exit 1; }
	@hack/images push all --registry "$(REGISTRY)" --tag "$$(hack/release check)"

.PHONY: package
package:  ## A release's files in dist/: chart and index, CRD, list of images, bills of material (REGISTRY=…, CHART_URL=…)
	@PATH="$$(hack/cluster bin):$$PATH" hack/release package --registry "$(REGISTRY)" --url "$(CHART_URL)"

.PHONY: install
install: venv  ## The chart, with the images built here, into CLUSTER
	$(call say,Chart into cluster $(CLUSTER))
	@$(call on,$(CLUSTER)) helm upgrade --install yolo-operator $(CHART) --namespace $(NAMESPACE) --create-namespace \
	  --set image.tag=$(IMAGE_TAG) --force-conflicts --hide-notes
	@# The tag stays when an image is built anew: the pod must not.
	@$(call on,$(CLUSTER)) kubectl --namespace $(NAMESPACE) rollout restart deployment/yolo-operator
	@$(call on,$(CLUSTER)) kubectl --namespace $(NAMESPACE) rollout status deployment/yolo-operator --timeout 3m

.PHONY: cluster-test
cluster-test: venv  ## Tests against a real API server, which they start and stop
	$(call say,Cluster tests)
	@mkdir -p build
	@$(PY) -m pytest tests/cluster 2>&1 | tee build/cluster-test.log

.PHONY: e2e
e2e: venv  ## One SCENARIO of tests/e2e with real containers; the result is build/e2e/SCENARIO.json
	@$(MAKE) up CLUSTER=$(TEST_CLUSTER)
	@$(MAKE) images CLUSTER=$(TEST_CLUSTER)
	@$(MAKE) install CLUSTER=$(TEST_CLUSTER)
	@$(MAKE) scenario

.PHONY: emulator
emulator:  ## The emulated TAO as an image into TEST_CLUSTER, for the scenarios verdicts, tenants and no-key
	@hack/images build --file tests/emulator/Dockerfile --tag yolo-operator/emulated-tao:test --load $(TEST_CLUSTER)

.PHONY: previous
previous:  ## The previous version's chart and image, into TEST_CLUSTER, for SCENARIO=helm-lifecycle
	@hack/previous $(TEST_CLUSTER)

# The same on a cluster that `make e2e` has prepared already.
.PHONY: scenario
scenario: venv $(if $(filter verdicts tenants no-key,$(SCENARIO)),emulator) $(if $(filter helm-lifecycle,$(SCENARIO)),previous)
	$(call say,End to end: $(SCENARIO))
	@mkdir -p build/e2e
	@$(call on,$(TEST_CLUSTER)) $(PY) tests/e2e/run.py $(SCENARIO)

# In the image and not in .venv: what is tested is Debian's torch, as the stages run it.
.PHONY: toolkit-test
toolkit-test:  ## The open toolkit's tests, in its image
	$(call say,Open toolkit: tests in its image)
	@mkdir -p build
	@hack/images build --file open-toolkit/Dockerfile --context open-toolkit --target test \
	  --tag yolo-operator/open-toolkit:test --load $(TEST_CLUSTER)
	@tar -C tests/unit/open_toolkit --exclude=__pycache__ -c . | $(call on,$(TEST_CLUSTER)) \
	  kubectl run toolkit-tests --rm -i --restart=Never --pod-running-timeout=3m --quiet \
	  --image=yolo-operator/open-toolkit:test --image-pull-policy=IfNotPresent --command -- \
	  sh -c 'mkdir /tmp/tests && tar -x -C /tmp/tests && exec python3 -m pytest -p no:cacheprovider /tmp/tests' \
	  2>&1 | tee build/toolkit-test.log

.PHONY: bench
bench: venv  ## Side by side with Argo Workflows and with the floor; build/bench/results.json (an hour)
	$(call say,Benchmarks)
	@hack/cluster build kubernetes etcd kwok helm argo-workflows
	@PATH="$$(hack/cluster bin):$$PATH" $(PY) benchmarks/bench.py

.PHONY: chaos
chaos: venv  ## Fault injection: every write, bad API weather, mutated resources; build/chaos/results.json (1 hour)
	$(call say,Chaos)
	@hack/cluster build kubernetes etcd
	@PATH="$$(hack/cluster bin):$$PATH" $(PY) -m chaos

.PHONY: test-down
test-down:  ## Stop and remove the tests' cluster
	-@hack/cluster down --name $(TEST_CLUSTER)

.PHONY: clean
clean:  ## Remove what was built here (not the clusters: make down test-down)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
