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
DEVICE ?=
A ?=
B ?=
LAYOUT ?=
TO ?=
ARGS ?=
SBATCH ?=
SUBMIT ?=
JOB ?= atlas

# ARGS reach the job unchanged: the shell does not expand * and [ ] to file names. A $ in a variable refers to no other
# variable: `value` gives its text as it was written, `shell_word` makes one word of it, `hydra_text` a text in quotes.
RUN = @set -f; PYTHONUNBUFFERED=1 $(BIN)/python -m
PYTEST = @set -f; OMP_NUM_THREADS=1 $(BIN)/python -m pytest
shell_word = '$(subst ','\'',$(1))'
hydra_text = "$(subst ",\",$(1))"
MODEL_IS = $(if $(value MODEL),$(call shell_word,model=$(value MODEL)))
DATASET_IS = $(if $(value DATASET),$(call shell_word,dataset=$(value DATASET)))
OUT_IS = $(if $(value OUT),$(call shell_word,out=$(call hydra_text,$(value OUT))))
JUDGE_IS = $(if $(value JUDGE),$(call shell_word,model@judge=$(value JUDGE)))
LAYER_IS = $(if $(value LAYER),$(call shell_word,layer=$(value LAYER)))
ATLASES_ARE = $(if $(value ATLASES),$(call shell_word,atlases=$(call hydra_text,$(value ATLASES))))
HELD_OUT_IS = $(if $(value HELD_OUT),$(call shell_word,held_out=$(call hydra_text,$(value HELD_OUT))))
A_IS = $(if $(value A),$(call shell_word,a=$(call hydra_text,$(value A))))
B_IS = $(if $(value B),$(call shell_word,b=$(call hydra_text,$(value B))))
TO_IS = $(if $(value TO),$(call shell_word,to=$(call hydra_text,$(value TO))))
LAYOUT_IS = $(if $(value LAYOUT),$(call shell_word,layout=$(value LAYOUT)))
ARGUMENTS = $(value ARGS)

# A machine with a GPU need not have a network connection: the Python that is there will do if it has torch, without
# Hydra and Ray. An environment of the project comes first.
AS_IT_IS = python=$(BIN)/python; if ! test -x $$python && $(PYTHON) -c 'import torch, h5py' 2>/dev/null; \
	then python=$(PYTHON); else $(MAKE) --no-print-directory .venv/test || exit; fi;

.PHONY: help atlas plan site compare diff export publish layers fetch score interpretability sweep controls pixels pack status verify prior doodlenet tinynet slurm submit kubernetes bench zoo fuzz torture soak test test-slow test-gpu test-slurm lint format clean clean-shards

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

atlas: .venv/atlas ## compute an atlas and its pages: MODEL= DATASET= OUT= JUDGE= ARGS=
	$(RUN) jobs.atlas $(MODEL_IS) $(DATASET_IS) $(OUT_IS) $(JUDGE_IS) $(ARGUMENTS)

plan: .venv/atlas ## print the estimated time and size of an atlas: MODEL= DATASET= OUT= ARGS=
	$(RUN) jobs.atlas plan=true $(MODEL_IS) $(DATASET_IS) $(OUT_IS) $(ARGUMENTS)

site: .venv/atlas ## make the pages of an atlas again: OUT=
	$(RUN) jobs.site $(OUT_IS) $(ARGUMENTS)

compare: .venv/atlas ## show the same classes in several networks on one page: ATLASES="a b" OUT=
	$(RUN) jobs.compare $(ATLASES_ARE) $(OUT_IS) $(ARGUMENTS)

diff: .venv/atlas ## print how two atlases differ (exit code 1 if they do), and make a page of it: A= B= OUT=
	$(RUN) jobs.diff $(A_IS) $(B_IS) $(OUT_IS) $(ARGUMENTS)

export: .venv/atlas ## write an atlas for other programs: OUT= LAYOUT=toolbox, milan, montages or parquet
	$(RUN) jobs.export $(OUT_IS) $(LAYOUT_IS) $(ARGUMENTS)

publish: .venv/atlas ## write a folder of pages that any static host serves: OUT= TO= ARGS="atlas=true address=https://…"
	$(RUN) jobs.publish $(OUT_IS) $(TO_IS) $(ARGUMENTS)

layers: .venv/atlas ## print the layer table of a network: MODEL=
	$(RUN) jobs.layers $(MODEL_IS) $(ARGUMENTS)

fetch: .venv/atlas ## fetch a network's published files into the cache: MODEL=
	$(RUN) jobs.fetch $(MODEL_IS) $(ARGUMENTS)

pixels: .venv/atlas ## add the images to an atlas made with tops.pixels=pointers: MODEL= DATASET= OUT=
	$(RUN) jobs.pixels $(MODEL_IS) $(DATASET_IS) $(OUT_IS) $(ARGUMENTS)

pack: .venv/atlas ## write a large atlas, which grows in parts, as one whole file: OUT=
	$(RUN) jobs.pack $(OUT_IS) $(ARGUMENTS)

status: .venv/atlas ## print how far a run is, by method and machine, while it goes on: OUT=
	$(RUN) jobs.status $(OUT_IS) $(ARGUMENTS)

verify: .venv/atlas ## find damage in an atlas by the digests that it keeps; ARGS="recompute=20" computes a sample again: OUT= MODEL= DATASET=
	$(RUN) jobs.verify $(MODEL_IS) $(DATASET_IS) $(OUT_IS) $(ARGUMENTS)

score: .venv/atlas ## score the class pictures with a judge: MODEL= OUT= JUDGE=
	$(RUN) jobs.score $(MODEL_IS) $(OUT_IS) $(JUDGE_IS) $(ARGUMENTS)

interpretability: .venv/atlas ## score how well each unit's pictures tell its most from its least exciting images: MODEL= DATASET= OUT= JUDGE=
	$(RUN) jobs.interpretability $(MODEL_IS) $(DATASET_IS) $(OUT_IS) $(JUDGE_IS) $(ARGUMENTS)

sweep: .venv/atlas ## sweep the settings of the regularizers, and make a page of them: MODEL= OUT= JUDGE=
	$(RUN) jobs.sweep $(MODEL_IS) $(OUT_IS) $(JUDGE_IS) $(ARGUMENTS)

CONTROLS := $(if $(value OUT),$(value OUT),atlases/controls)

controls: .venv/atlas ## run and judge DGN-AM without bounds, with several λ, and on another network: OUT=
	$(RUN) jobs.atlas model=doodlenet experiment=controls $(call shell_word,out=$(call hydra_text,$(CONTROLS)/doodlenet)) $(ARGUMENTS)
	$(RUN) jobs.score model=doodlenet $(call shell_word,out=$(call hydra_text,$(CONTROLS)/doodlenet))
	$(RUN) jobs.atlas model=doodlevgg experiment=controls units=[fc] $(call shell_word,out=$(call hydra_text,$(CONTROLS)/doodlevgg)) $(ARGUMENTS)
	$(RUN) jobs.score model=doodlevgg $(call shell_word,out=$(call hydra_text,$(CONTROLS)/doodlevgg))
	$(RUN) jobs.compare $(call shell_word,atlases=$(call hydra_text,$(CONTROLS)/doodlenet $(CONTROLS)/doodlevgg)) $(call shell_word,out=$(call hydra_text,$(CONTROLS)/compared))

prior: .venv/atlas ## train a prior, a generator for DGN-AM: MODEL= LAYER=fc6 DATASET= OUT=
	$(RUN) jobs.prior $(MODEL_IS) $(LAYER_IS) $(DATASET_IS) $(OUT_IS) $(ARGUMENTS)

doodlenet: .venv/atlas ## train doodlenet, doodlejudge and doodlevgg again, from random weights: OUT=
	$(RUN) jobs.train network=doodlenet $(OUT_IS) $(ARGUMENTS)
	$(RUN) jobs.train network=doodlejudge $(OUT_IS) $(ARGUMENTS)
	$(RUN) jobs.train network=doodlevgg $(OUT_IS) $(ARGUMENTS)

tinynet: .venv/atlas ## train tinynet, or MODEL=tinyjudge, again, from photos: DATASET=tar HELD_OUT=photos.tar ARGS="dataset.root=… dataset.labels=…"
	$(RUN) jobs.photos $(call shell_word,network=$(if $(value MODEL),$(value MODEL),tinynet)) $(DATASET_IS) $(HELD_OUT_IS) $(OUT_IS) $(ARGUMENTS)

slurm: .venv/atlas ## compute an atlas on the nodes of a Slurm allocation: SBATCH="--nodes=4 --time=12:00:00" MODEL= DATASET= OUT= ARGS=
	$(RUN) jobs.slurm $(value SBATCH) $(JOB) $(MODEL_IS) $(DATASET_IS) $(OUT_IS) $(ARGUMENTS)

submit: .venv/atlas ## compute an atlas on a running Ray cluster, after `ray dashboard`: MODEL= DATASET= OUT=/… ARGS=
	$(RUN) jobs.ray $(value SUBMIT) $(JOB) $(MODEL_IS) $(DATASET_IS) $(OUT_IS) $(ARGUMENTS)

kubernetes: .venv/atlas ## print the manifest of an atlas for KubeRay: SUBMIT="--image=registry/atlas --workers=4" MODEL= OUT=/data/… ARGS=
	$(RUN) jobs.kubernetes $(value SUBMIT) $(JOB) $(MODEL_IS) $(DATASET_IS) $(OUT_IS) $(ARGUMENTS)

bench: $(if $(DEVICE),,.venv/test) ## measure speed and memory, one question per file in jobs/bench; DEVICE=cuda: of a GPU, into one JSON
	$(if $(DEVICE),@set -f; $(AS_IT_IS) PYTHONUNBUFFERED=1 $$python -m jobs.bench device=$(DEVICE) $(ARGUMENTS),$(RUN) jobs.bench $(ARGUMENTS))

zoo: .venv-zoo/zoo ## open and check many architectures with random weights, write docs/networks.md: ARGS="swin vgg" for some
	@set -f; OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 .venv-zoo/bin/python -m jobs.zoo $(ARGUMENTS)

fuzz: .venv/test ## read damaged and hostile files of every kind, keep what hangs or crashes in .fuzz: ARGS="cases=1000 kinds=mean,torch"
	@set -f; OMP_NUM_THREADS=1 PYTHONUNBUFFERED=1 $(BIN)/python -m tests.fuzz $(ARGUMENTS)

torture: .venv/test ## kill drivers, workers, nodes and heads while an atlas is computed, and compare its bytes: ARGS="kills=50 seed=0"
	@set -f; PYTHONUNBUFFERED=1 $(BIN)/python -m tests.torture $(ARGUMENTS)

soak: .venv/test ## compute 10,000 tasks for half an hour while nodes come and go, and watch memory, handles and speed: ARGS="minutes=30"
	@set -f; PYTHONUNBUFFERED=1 $(BIN)/python -m tests.torture.soak $(ARGUMENTS)

test: .venv/test ## run the tests (under 15 minutes on two cores); ATLAS_TEST_DATA=folder for those with real photos
	$(PYTEST) -n auto --maxprocesses=4 --dist=loadfile -m "not slow and not gpu" $(ARGUMENTS)

test-slow: .venv/test ## run the long tests too
	$(PYTEST) -m "not gpu" $(ARGUMENTS)

test-gpu: ## run the tests that need a CUDA device
	@$(AS_IT_IS) set -- $$(grep -rl --include='*.py' 'mark[.]gpu' tests); set -f; \
	PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 $$python -m pytest -m gpu -W default "$$@" $(ARGUMENTS)

test-slurm: .venv/test ## run jobs on a Slurm of this machine, half an hour; needs the packages slurm-wlm and munge
	jobs/slurm/check.sh $(BIN)/python

lint: .venv/test ## check the style of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/test ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environments and caches; never an atlas
	rm -rf .venv .venv-zoo node_modules .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

clean-shards: ## remove what is kept of the passes over a dataset (other units then need another pass): OUT=
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
