#!/usr/bin/env bash
# Fuzzes everything that parses bytes from outside: `make fuzz SECONDS=60` for so long each, FUZZ_TARGETS names some.
# What is found lands in fuzz/artifacts, what was tried in fuzz/target/corpus; the small corpus in fuzz/corpus is the start.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=0.13.2
tool=$PWD/.deps/cargo-fuzz
if [ ! -x "$tool/bin/cargo-fuzz" ]; then
  echo "==> cargo-fuzz $version"
  cargo install --quiet --locked --root "$tool" --version "$version" cargo-fuzz
fi
export PATH=$tool/bin:$PATH
# cargo-fuzz wants options of a nightly compiler; this one has them too.
export RUSTC_BOOTSTRAP=1
seconds=${1:-60}
targets=${FUZZ_TARGETS:-$(cargo fuzz list)}
cargo fuzz build
failed=
for target in $targets; do
  found=fuzz/target/corpus/$target
  mkdir -p "$found" "fuzz/corpus/$target"
  log=fuzz/target/$target.log
  # A file that takes 20 s is a fault too.
  if cargo fuzz run "$target" "$found" "fuzz/corpus/$target" -- -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 \
      -print_final_stats=1 > "$log" 2>&1; then verdict=good; else verdict="FOUND: see $log"; failed=1; fi
  runs=$(grep -a number_of_executed_units "$log" | grep -o '[0-9]*$' || echo 0)
  reached=$(grep -a -o 'cov: [0-9]*' "$log" | tail -1) || true
  printf '%-16s %12s runs, %s, %s\n' "$target" "$runs" "${reached:-cov: 0}" "$verdict"
done
[ -z "$failed" ]
