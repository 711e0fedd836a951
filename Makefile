# `make demo` and `make test` need nothing beforehand but cargo, Python with venv, and a C and C++ compiler.
.PHONY: setup build install demo sim sim-evaluate test lint fuzz soak clean bench bench-node bench-python bench-engines bench-stages bench-frontier bench-reload bench-replay bench-report

setup:
	@bash scripts/setup.sh

build: setup
	@bash scripts/run.sh cargo build --release --locked

install: setup
	@bash scripts/install.sh

demo: install
	@bash scripts/run.sh python scripts/demo.py

# A simulated robot that drives by the scan: make sim SEEDS=1-5 METRES=40 SIM='--model NAME'
SEEDS ?=
METRES ?=
SIM ?=

sim: install
	@bash scripts/sim/run.sh drive.py $(if $(SEEDS),--seeds $(SEEDS)) $(if $(METRES),--metres $(METRES)) $(SIM)

# How true the scan is, beam by beam, in the same rooms.
sim-evaluate: install
	@bash scripts/sim/run.sh evaluate.py $(if $(SEEDS),--seeds $(SEEDS)) $(SIM)

test:
	@bash scripts/setup.sh sim
	@bash scripts/test.sh

lint: setup
	@bash scripts/run.sh bash -c 'cargo fmt --check && cargo clippy --all-targets --locked -- -D warnings'

# Everything that parses bytes from outside, for so long each.
SECONDS ?= 60

fuzz:
	@bash scripts/fuzz.sh $(SECONDS)

# Frames of so many hours, while everything changes: is anything left over?
HOURS ?= 8

soak: install
	@bash scripts/run.sh python scripts/soak.py --hours $(HOURS)

# Options of the benchmarks: make bench BENCH='--quick'
BENCH ?=

bench: install
	@bash scripts/bench/all.sh $(BENCH)

bench-node: install
	@bash scripts/bench/run.sh node.py $(BENCH)

bench-python: install
	@bash scripts/bench/run.sh against_python.py $(BENCH)

bench-engines: install
	@bash scripts/bench/run.sh engines.py $(BENCH)

bench-stages: setup
	@bash scripts/run.sh cargo bench --bench stages --no-default-features --locked -- --warm-up-time 1 --measurement-time 3

bench-frontier: install
	@bash scripts/bench/run.sh frontier.py $(BENCH)

bench-reload: install
	@bash scripts/bench/run.sh reload.py $(BENCH)

bench-replay: install
	@bash scripts/bench/run.sh replay.py $(BENCH)

bench-report: setup
	@bash scripts/bench/run.sh report.py $(BENCH)

clean:
	rm -rf .deps target
