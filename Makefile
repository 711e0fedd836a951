# `make demo` and `make test` need nothing beforehand but cargo, Python with venv, and a C compiler.
.PHONY: setup build install demo test lint bench clean

setup:
	@bash scripts/setup.sh

build: setup
	@bash scripts/run.sh cargo build --release --locked

install: setup
	@bash scripts/install.sh

demo: install
	@bash scripts/run.sh python scripts/demo.py

test: setup
	@bash scripts/test.sh

lint: setup
	@bash scripts/run.sh bash -c 'cargo fmt --check && cargo clippy --all-targets --locked -- -D warnings'

bench: install
	@bash scripts/run.sh bash -c "squeezenet_node bench && python scripts/bench_node.py"

clean:
	rm -rf .deps target
