# make run | make demo | make keyword | make test: the first sets up a virtual environment in .venv, make test adds to it.
#   WORD=word RECORDINGS=dir make keyword  makes a detector of one's own word; NEGATIVES=dir is what is not the word,
#                                     VOICES=1 lets synthetic voices say it too
#   DATA=dir KEYWORD=word make run    does the same on real clips; SPEECH=dir adds running speech, of which scenes
#                                     to learn from are made, NOISE=dir noise and TRANSCRIPTS=file what is said;
#                                     KEYWORD="one two" SEEDS="0 1 2" make run runs them all
PYTHON ?= python3
BIN := .venv/bin
OUT ?= out
READY := .venv/ready
TESTED := .venv/tested
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile -q --durations=20
FOLDERS := $(if $(DATA),--data $(DATA)) $(if $(SPEECH),--speech $(SPEECH))
SOURCES := $(FOLDERS) $(if $(NOISE),--noise $(NOISE)) $(if $(TRANSCRIPTS),--transcripts $(TRANSCRIPTS))

.PHONY: run demo keyword test test-slow lint report notebook clean

run: $(READY)
	$(BIN)/python -m experiments.run --all $(SOURCES) $(if $(KEYWORD),--keywords $(KEYWORD)) $(if $(SEEDS),--seeds $(SEEDS)) --out $(OUT)
	$(BIN)/python -m experiments.stream_demo --results $(OUT) $(FOLDERS) $(if $(KEYWORD),--keyword $(firstword $(KEYWORD))) --out $(OUT)/figures/stream_demo.png
	$(BIN)/python -m experiments.report $(OUT) --out $(OUT)
	@echo "next: read $(OUT)/REPORT.md; a detector of your own word: make keyword WORD=word RECORDINGS=dir"

demo: $(READY)
	$(BIN)/python -m experiments.stream_demo --checkpoint checkpoints/happy/student_21x_stream_int8.safetensors --out $(OUT)/stream_demo.png
	@echo "next: $(BIN)/python -m experiments.listen --checkpoint checkpoints/happy/student_21x_stream_int8.safetensors FILE"

keyword: $(READY)
	@test -n "$(WORD)" -a -n "$(RECORDINGS)" || { echo "error: say WORD=word and RECORDINGS=dir"; exit 1; }
	$(BIN)/python -m experiments.keyword --word "$(WORD)" --recordings "$(RECORDINGS)" $(if $(NEGATIVES),--negatives "$(NEGATIVES)") $(if $(VOICES),--voices) $(if $(DATA),--data "$(DATA)") $(if $(SPEECH),--speech $(SPEECH)) $(if $(NOISE),--noise $(NOISE)) --out "$(OUT)/$(WORD)"

test: $(TESTED)
	$(PYTEST) $(COVERAGE)

test-slow: $(TESTED)
	$(PYTEST) -m slow $(COVERAGE)

lint: $(TESTED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

report: $(READY)
	$(BIN)/python -m experiments.report results --out .

notebook: $(READY)
	$(PIP) -e '.[docs]'
	$(BIN)/python docs/build.py

clean:
	rm -rf .venv out

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: Python 3.11 or newer is needed; make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(PIP) -e '.[study,synthetic]'
	touch $@

$(TESTED): $(READY)
	$(PIP) -e '.[dev]'
	touch $@
