# Each target runs its commands in an environment that is created on demand.
# make atlas MODEL=squeezenet OUT=atlases/first ARGS="units=[conv10:0-19] samples=4"
.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
BIN := .venv/bin

MODEL ?=
DATASET ?=
OUT ?=
JUDGE ?=
ATLASES ?=
LAYER ?=
HELD_OUT ?=
ARGS ?=

# ARGS reach the job unchanged: the shell does not expand * and [ ] to file names.
RUN = @set -f; PYTHONUNBUFFERED=1 $(BIN)/python -m
MODEL_IS = $(if $(MODEL),model=$(MODEL))
DATASET_IS = $(if $(DATASET),dataset=$(DATASET))
OUT_IS = $(if $(OUT),'out="$(OUT)"')
JUDGE_IS = $(if $(JUDGE),model@judge=$(JUDGE))

.PHONY: help atlas plan site compare layers fetch score sweep controls pixels prior doodlenet tinynet bench zoo fuzz test test-slow test-gpu lint format clean clean-shards

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

atlas: .venv/atlas ## compute an atlas and its pages: MODEL= DATASET= OUT= ARGS=
	$(RUN) jobs.atlas $(MODEL_IS) $(DATASET_IS) $(OUT_IS) $(ARGS)

plan: .venv/atlas ## print the estimated time and size of an atlas: MODEL= DATASET= OUT= ARGS=
	$(RUN) jobs.atlas plan=true $(MODEL_IS) $(DATASET_IS) $(OUT_IS) $(ARGS)

site: .venv/atlas ## make the pages of an atlas again: OUT=
	$(RUN) jobs.site $(OUT_IS) $(ARGS)

compare: .venv/atlas ## show the same classes in several networks on one page: ATLASES="a b" OUT=
	$(RUN) jobs.compare $(if $(ATLASES),'atlases="$(ATLASES)"') $(OUT_IS) $(ARGS)

layers: .venv/atlas ## print the layer table of a network: MODEL=
	$(RUN) jobs.layers $(MODEL_IS) $(ARGS)

fetch: .venv/atlas ## fetch a network's published files into the cache: MODEL=
	$(RUN) jobs.fetch $(MODEL_IS) $(ARGS)

pixels: .venv/atlas ## add the images to an atlas made with tops.pixels=pointers: MODEL= DATASET= OUT=
	$(RUN) jobs.pixels $(MODEL_IS) $(DATASET_IS) $(OUT_IS) $(ARGS)

score: .venv/atlas ## score the class pictures with a judge: MODEL= OUT= JUDGE=
	$(RUN) jobs.score $(MODEL_IS) $(OUT_IS) $(JUDGE_IS) $(ARGS)

sweep: .venv/atlas ## sweep the settings of the regularizers, and make a page of them: MODEL= OUT= JUDGE=
	$(RUN) jobs.sweep $(MODEL_IS) $(OUT_IS) $(JUDGE_IS) $(ARGS)

CONTROLS := $(if $(OUT),$(OUT),atlases/controls)

controls: .venv/atlas ## run and judge DGN-AM without bounds, with several λ, and on another network: OUT=
	$(RUN) jobs.atlas model=doodlenet experiment=controls 'out="$(CONTROLS)/doodlenet"' $(ARGS)
	$(RUN) jobs.score model=doodlenet 'out="$(CONTROLS)/doodlenet"'
	$(RUN) jobs.atlas model=doodlevgg experiment=controls units=[fc] 'out="$(CONTROLS)/doodlevgg"' $(ARGS)
	$(RUN) jobs.score model=doodlevgg 'out="$(CONTROLS)/doodlevgg"'
	$(RUN) jobs.compare 'atlases="$(CONTROLS)/doodlenet $(CONTROLS)/doodlevgg"' 'out="$(CONTROLS)/compared"'

prior: .venv/atlas ## train a prior, a generator for DGN-AM: MODEL= LAYER=fc6 DATASET= OUT=
	$(RUN) jobs.prior $(MODEL_IS) $(if $(LAYER),layer=$(LAYER)) $(DATASET_IS) $(OUT_IS) $(ARGS)

doodlenet: .venv/atlas ## train doodlenet, doodlejudge and doodlevgg again, from random weights: OUT=
	$(RUN) jobs.train network=doodlenet $(OUT_IS) $(ARGS)
	$(RUN) jobs.train network=doodlejudge $(OUT_IS) $(ARGS)
	$(RUN) jobs.train network=doodlevgg $(OUT_IS) $(ARGS)

tinynet: .venv/atlas ## train tinynet, or MODEL=tinyjudge, again, from photos: DATASET=tar HELD_OUT=photos.tar ARGS="dataset.root=… dataset.labels=…"
	$(RUN) jobs.photos network=$(if $(MODEL),$(MODEL),tinynet) $(DATASET_IS) $(if $(HELD_OUT),'held_out="$(HELD_OUT)"') $(OUT_IS) $(ARGS)

bench: .venv/test ## measure speed and memory, one question per file in jobs/bench
	$(RUN) jobs.bench $(ARGS)

zoo: .venv-zoo/zoo ## open and check many architectures with random weights, write docs/networks.md: ARGS="swin vgg" for some
	@set -f; OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 .venv-zoo/bin/python -m jobs.zoo $(ARGS)

fuzz: .venv/test ## read damaged and hostile files of every kind, keep what hangs or crashes in .fuzz: ARGS="cases=1000 kinds=mean,torch"
	@set -f; OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 $(BIN)/python -m tests.fuzz $(ARGS)

test: .venv/test ## run the tests (under 15 minutes on two cores); ATLAS_TEST_DATA=folder for those with real photos
	@set -f; $(BIN)/python -m pytest -m "not slow and not gpu" $(ARGS)

test-slow: .venv/test ## run the long tests too
	@set -f; $(BIN)/python -m pytest -m "not gpu" $(ARGS)

test-gpu: .venv/test ## run the tests that need a CUDA device
	@set -f; $(BIN)/python -m pytest -m gpu $(ARGS)

lint: .venv/test ## check the style of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/test ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environments and caches; never an atlas
	rm -rf .venv .venv-zoo .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-shards: ## remove the shards of an atlas that is finished (an addition then recomputes everything): OUT=
	@test -n "$(OUT)" || { echo "clean-shards: give the folder of the atlas with OUT=…" >&2; exit 2; }
	@test -f "$(OUT)/atlas.h5" || { echo "$(OUT)/atlas.h5: not found; nothing is removed" >&2; exit 2; }
	rm -rf "$(OUT)/shards"

.venv/python:
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@touch $@

.venv/atlas: .venv/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e .
	@touch $@

.venv/test: .venv/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test,bench]'
	@touch $@ .venv/atlas

# The packages of architectures are for the zoo alone; torch stays the one of constraints.txt.
.venv-zoo/zoo: pyproject.toml constraints.txt
	@test -x .venv-zoo/bin/python || $(PYTHON) -m venv .venv-zoo
	.venv-zoo/bin/pip install --quiet -c constraints.txt -e '.[torchvision,timm,huggingface]' pytorchcv
	@touch $@
