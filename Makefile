# Freehold from a fresh checkout: `make demo` to try it, `make test` to prove it.
#
# Needs Rust (rustup), gcc, make, Python 3 with venv and Node 20 or newer with npm. `make test` also needs
# Debian's chromium, coturn and valgrind: as root it installs them, otherwise it says how.

TARGET := $(or $(CARGO_TARGET_DIR),target)
CHROMIUM := /usr/bin/chromium
# For `make demo`, such as ARGS="--domains 3 --dir /tmp/demo".
ARGS :=

.PHONY: demo test bench bench-vm bench-inner instructions flamegraph example audit web debian grpc-venv
.DELETE_ON_ERROR:

demo: web
	cargo build --release --locked --bin freehold
	@exec $(TARGET)/release/freehold demo $(ARGS)

# Built as `make demo` builds the server, whose parts it shares.
COUNT := cargo build --release --locked --bin freehold-count --features freehold-inner/count

# The stock clients are driven by tests/stock_clients.rs: the SDK in Node, the web app in Chromium, the
# gRPC stubs in Python.
test: debian web tests/clients/node_modules/.package-lock.json tests/s3/.venv grpc-venv interop/second-peer/.venv
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features freehold-inner/count --locked -- -D warnings
	cargo clippy --package freehold --features test-hooks --locked -- -D warnings
	FREEHOLD_MUTATION_SECONDS=60 cargo test --workspace --locked
	$(COUNT)
	bench/instructions $(TARGET)/release/freehold-count
	@if command -v cargo-deny >/dev/null; then \
		cargo deny check bans licenses sources; \
	else \
		echo 'cargo-deny is not installed: dependencies are not checked against deny.toml'; \
	fi

# The quick set of docs/PERFORMANCE.md, three or four minutes; documents go to $(TARGET)/bench/.
BENCH := "idle" "publish" "publish --rate 1000" "fanout" "online" "login-storm" "sync" "history" "mixed" \
	"federate" "federate --rate 500" "federate --group --pairs 8 --rate 200"

bench:
	cargo build --release --locked --bin freehold --bin freehold-bench
	@for scenario in $(BENCH); do \
		name=$$(echo "$$scenario" | tr -d ' '); \
		$(TARGET)/release/freehold-bench $$scenario --json $(TARGET)/bench/$$name.json $(ARGS) || exit 1; \
	done

# Memory of 100,000 idle connections, in a virtual machine with more open files than this one; ten minutes.
# ARGS are another scenario and its options.
bench-vm:
	cargo build --release --locked --bin freehold --bin freehold-bench
	bench/vm $(TARGET) $(or $(ARGS),online --connections 100000)

# Times of inner parts by themselves.
bench-inner:
	cargo bench --locked --package freehold-inner

# Notes how many instructions fixed pieces of work take today; `make test` compares.
instructions: debian
	$(COUNT)
	bench/instructions $(TARGET)/release/freehold-count --write

# Draws docs/publish.svg anew. inferno is a tool beside the project: its licence is none of deny.toml.
flamegraph: $(TARGET)/tools/bin/inferno-flamegraph
	cargo build --release --locked --bin freehold-bench
	RUSTFLAGS='-C force-frame-pointers=yes' cargo build --profile profiling --locked --bin freehold
	bench/flamegraph $(TARGET) docs/publish.svg

$(TARGET)/tools/bin/inferno-flamegraph:
	cargo install --quiet --locked --version 0.12.8 --root $(TARGET)/tools --no-default-features \
		--features cli,nameattr inferno

# Renews config/example.toml from the comments in config/src/file.rs.
example:
	cargo run --quiet -p freehold-config --example print > config/example.new
	mv config/example.new config/example.toml
	cargo run --quiet -p freehold-config --example print directory > config/example.new
	mv config/example.new config/directory-example.toml

# Known weaknesses of dependencies; asks the advisory database on the internet.
audit:
	cargo deny check advisories

web: web/dist/index.html

web/dist/index.html: web/node_modules/.package-lock.json web/assemble.mjs web/mend.js
	cd web && npm run --silent assemble
	@touch $@

# npm writes this file last, so it is the mark of a finished installation.
%/node_modules/.package-lock.json: %/package.json %/package-lock.json
	@node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)' || \
		{ echo 'Node 20 or newer is needed'; exit 1; }
	cd $* && npm ci --no-progress
	@touch $@

# An S3-compatible service for tests of files, and what the peer in Python needs.
tests/s3/.venv interop/second-peer/.venv: %/.venv: %/requirements.txt
	python3 -m venv $@
	$@/bin/pip install --quiet --no-deps --requirement $<
	@touch $@

grpc-venv: $(TARGET)/grpc-venv/.installed

$(TARGET)/grpc-venv/.installed: tests/clients/requirements.txt
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@

# What the tests need of Debian, and the program by which one sees that it is there.
debian:
	@missing=; \
	[ -x $(CHROMIUM) ] || missing="$$missing chromium"; \
	[ -x /usr/bin/turnserver ] || missing="$$missing coturn"; \
	[ -x /usr/bin/valgrind ] || missing="$$missing valgrind"; \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update && apt-get install -y --no-install-recommends $$missing; \
	else \
		echo 'The tests need more programs. Run this, then `make test` again:'; \
		echo "    sudo apt-get install -y --no-install-recommends$$missing"; \
		exit 1; \
	fi
