# make demo   environment, real clips, training on a CPU, evaluation, samples: minutes
# make test   environment with the test tools, lint, the whole suite, offline
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
DEMO := checkpoints/demo/latest_checkpoint.pt
REPORT := generated_samples/demo/evaluation

.PHONY: demo test

demo: $(VENV)/.demo
	$(PY) main.py prepare-data --preset demo --languages ase
	$(PY) main.py train --preset demo $(if $(wildcard $(DEMO)),--resume)
	@$(MAKE) --no-print-directory $(REPORT)/evaluation.json
	$(PY) main.py sample --checkpoint $(DEMO) --text "letter A in American Sign Language" \
	    --text "letter L in American Sign Language" --text "letter Y in American Sign Language"
	@echo "page: $(REPORT)/report.html, contact sheet: $(REPORT)/contact_sheet_train.png"

$(REPORT)/evaluation.json: $(DEMO)
	$(PY) main.py evaluate --checkpoint $(DEMO) --output $(REPORT)

test: $(VENV)/.dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

$(VENV)/.demo: requirements.txt requirements-demo.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q -r requirements-demo.txt
	@touch $@

$(VENV)/.dev: requirements.txt requirements-demo.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q -r requirements-dev.txt
	@touch $@ $(VENV)/.demo
