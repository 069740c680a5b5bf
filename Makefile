# `make help` lists what can be made. Everything needs root: libvirt's networks and guests are the machine's.
.DEFAULT_GOAL := help
PREFIX ?= /usr/local
DESTDIR ?=
BIN := target/release/mesos-slave

.PHONY: help setup build image demo test fuzz bench lint install clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is needed from the distribution's own packages
	@scripts/setup

build: setup ## compile the binary
	@cargo build --release --locked

image: setup ## build the guest image from the distribution's own packages
	@scripts/build-guest-image

demo: build image ## run a command in a virtual machine, under a real slave
	@scripts/demo $(BIN)

test: setup ## run all tests, the ones with real virtual machines too
	@scripts/test

fuzz: ## feed what the slave reads with made-up inputs, a few minutes (see scripts/fuzz --help)
	@scripts/fuzz

bench: build image ## measure a launch by hand against one by the slave
	@scripts/bench-launch $(BIN)

lint: setup ## format, clippy and shellcheck, all of them strict
	@cargo fmt --check
	@cargo clippy --locked --all-targets --all-features -- -D warnings
	@cargo fmt --check --manifest-path fuzz/Cargo.toml
	@cargo clippy --locked --manifest-path fuzz/Cargo.toml --target-dir target --no-default-features -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck -x scripts/setup scripts/build-guest-image scripts/libvirt-host scripts/demo scripts/test scripts/bench-launch scripts/fuzz .ci/run; \
	 else echo "shellcheck is not installed: scripts were not checked"; fi

install: build ## install the binary, the scripts and the annotated configuration below PREFIX (/usr/local)
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/sbin/mesos-slave
	install -D -m 0755 scripts/build-guest-image $(DESTDIR)$(PREFIX)/share/mesos-slave/scripts/build-guest-image
	cp -R scripts/guest $(DESTDIR)$(PREFIX)/share/mesos-slave/scripts/
	install -D -m 0644 conf/mesos.conf $(DESTDIR)$(PREFIX)/share/mesos-slave/mesos.conf

clean: ## remove what was compiled (images stay: they are below /var/lib/mesos-slave)
	cargo clean
	cargo clean --manifest-path fuzz/Cargo.toml
