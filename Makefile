# What people call. `make` builds; `make test` is what CI runs; `make demo` shows a pod.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build

CARGO ?= cargo
WASMTIME ?= wasmtime
OUT := $(or $(CARGO_TARGET_DIR),target)/x86_64-unknown-linux-musl/release
BINS := mote mote-vmm mote-compile mote-http containerd-shim-mote-v1 mote-install
# One profile for programs, their unit tests and lints.
FLAGS := --release --locked
# Tests against containerd wait for others: optimising and linking them with LTO costs minutes and gains nothing.
E2E := CARGO_PROFILE_DEV_DEBUG=line-tables-only $(CARGO)
# Conformance suites: a mote-vmm with another guest image, and the program that drives it.
CONFORMANCE := .work/conformance
# The guest is for another target; mote-vmm's build script builds it.
HOST := --workspace --exclude mote-guest

.PHONY: build test unit e2e cluster cluster-down cluster-deps samples conformance conformance-core conformance-components conformance-wasi conformance-programs conformance-cri conformance-build conformance-native lint fmt deny demo overhead bench install-deps programs peer clean

## build: the node's executables, static and stripped, in bin/
build:
	$(CARGO) build $(FLAGS)
	@mkdir -p bin
	@for name in $(BINS); do \
		if ! [ bin/$$name -nt "$(OUT)/$$name" ]; then \
			strip -o "bin/.$$name.new" "$(OUT)/$$name"; \
			mv "bin/.$$name.new" "bin/$$name"; \
		fi; \
	done
	@ls -l $(addprefix bin/,$(BINS))

## install-deps: containerd, CNI plugins and compilers for guests, below .work (and apt)
install-deps:
	@e2e/install.sh

## peer: wasmtime for comparisons, on the code that Mote runs
peer:
	$(CARGO) build --locked --manifest-path e2e/peer/Cargo.toml --target x86_64-unknown-linux-gnu \
		--target-dir .work/target-peer

## programs: the guests that tests and demo run
programs: install-deps
	@e2e/programs/build.sh

## test: everything
test: install-deps
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory peer
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory e2e

## unit: tests that need neither containerd nor other programs
unit:
	$(CARGO) test $(FLAGS) $(HOST) --exclude mote-e2e --no-fail-fast

## e2e: tests against containerd, a cluster and KVM; uses bin/ as it is
e2e: programs peer conformance-build cluster-deps
	@rm -f .work/vm-tests
	$(E2E) test --locked -p mote-e2e --no-fail-fast

## cluster-deps: Kubernetes, which is built, and what it runs with, below .work
cluster-deps:
	@CONTAINERD=1.7 e2e/install.sh containerd cni runc go chart etcd kubectl cluster-tools kubernetes

## cluster: a Kubernetes of one node with Mote and the samples' images on it; KUBECONFIG=.work/cluster/kubeconfig
cluster: build programs cluster-deps
	@$(E2E) run --locked --quiet -p mote-e2e --bin cluster -- up

## cluster-down: takes it away
cluster-down:
	@$(E2E) run --locked --quiet -p mote-e2e --bin cluster -- down

## samples: the images of manifests/ as archives in .work/samples
samples: programs
	@$(E2E) run --locked --quiet -p mote-e2e --bin cluster -- samples .work/samples

## conformance-build: what runs conformance suites, in .work/conformance/bin; named along with the node's executables,
## so that all share one build of their dependencies
conformance-build:
	$(CARGO) build $(FLAGS) $(addprefix -p ,$(BINS) mote-conformance) --features mote-vmm/conformance
	@mkdir -p $(CONFORMANCE)/bin
	@for name in mote-vmm mote-conformance; do \
		strip -o "$(CONFORMANCE)/bin/.$$name.new" "$(OUT)/$$name"; \
		mv "$(CONFORMANCE)/bin/.$$name.new" "$(CONFORMANCE)/bin/$$name"; \
	done

## conformance: suites of others; rewrites docs/CONFORMANCE.md. WASMTIME_WAST is the source of Wasmtime with its submodules, of
## which Cargo.toml and tests/ are enough; WASI_TESTSUITE a checkout of WebAssembly/wasi-testsuite, prod/testsuite-base;
## WASMTIME_PROGRAMS a folder with programs of Wasmtime's own tests, and WASMTIME its command; CRITEST the executable of
## kubernetes-sigs/cri-tools
conformance: conformance-core conformance-components conformance-wasi conformance-programs conformance-cri

# The same with Wasmtime's runtime, to run natively what runs in the VM.
conformance-native: conformance-build
	$(CARGO) build $(FLAGS) $(addprefix -p ,$(BINS) mote-conformance) --features mote-vmm/conformance,mote-conformance/native

## conformance-core: WebAssembly's own suite in the VM and natively; rewrites what is known to fail natively, too
conformance-core: conformance-native
	@$(OUT)/mote-conformance core --bin $(CONFORMANCE)/bin --work $(CONFORMANCE)/core --verbose \
		--native-failures e2e/conformance/native-failures.txt --document docs/CONFORMANCE.md

## conformance-components: the component model's own suite, and Wasmtime's for it, in the VM and natively
conformance-components: conformance-native
	@$(OUT)/mote-conformance components --bin $(CONFORMANCE)/bin --work $(CONFORMANCE)/components --verbose \
		--tree "$(WASMTIME_WAST)" --document docs/CONFORMANCE.md

conformance-wasi:
	$(CARGO) build $(FLAGS) -p mote-e2e --bin wasi_conformance
	@$(OUT)/wasi_conformance testsuite "$(WASI_TESTSUITE)" --document docs/CONFORMANCE.md

conformance-programs:
	$(CARGO) build $(FLAGS) -p mote-e2e --bin wasi_conformance
	@$(OUT)/wasi_conformance programs "$(WASMTIME_PROGRAMS)" "$(WASMTIME)" --document docs/CONFORMANCE.md

## conformance-cri: critest against pods of Mote on each containerd, or, without touching the document, on CONTAINERD
conformance-cri: programs
	@$(E2E) run --locked --quiet -p mote-e2e --bin cri_conformance -- "$(CRITEST)" e2e/conformance/cri-failures.txt \
		$(if $(CONTAINERD),,--document docs/CONFORMANCE.md)

## lint: format and clippy, warnings are errors
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(FLAGS) $(HOST) --all-targets -- -D warnings
	cd guest && $(CARGO) clippy $(FLAGS) -p mote-guest --target x86_64-unknown-none -- -D warnings
	cd guest && $(CARGO) clippy $(FLAGS) -p mote-guest --features conformance --target x86_64-unknown-none -- -D warnings
	cd e2e/peer && $(CARGO) fmt --check

fmt:
	$(CARGO) fmt --all

## deny: licences and advisories of dependencies, where cargo-deny is installed
deny:
	$(CARGO) deny check

## demo: an image becomes a pod in a micro-VM and shows it
demo: install-deps build programs
	@$(E2E) run --locked --quiet -p mote-e2e --bin demo

## overhead: what a pod costs beside its guest's memory, which the chart's RuntimeClass says
overhead: programs
	$(E2E) test --locked -p mote-e2e --test overhead -- --nocapture

## bench: figures as JSON lines
bench: install-deps build programs
	@$(E2E) run --locked --quiet -p mote-e2e --bin bench

clean:
	$(CARGO) clean
	rm -rf bin .work/target-programs .work/target-peer .work/programs .work/scratch
