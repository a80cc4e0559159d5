# `make help` lists what there is; each target says what it does while it runs.

# Build results and the guest image live outside the clone, so that every clone
# on a machine shares them.
VIRGA_CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/virga
export CARGO_TARGET_DIR ?= $(VIRGA_CACHE)/target
export VIRGA_GUEST_DIR ?= $(VIRGA_CACHE)/guest

.DEFAULT_GOAL := help
.PHONY: help build web run stop demo demo-stop test check bench fmt

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## install what is missing and build the programs (release)
	@scripts/setup.sh run
	@scripts/web.sh build
	@echo "build: virga-manager, virga-agent and virga into $(CARGO_TARGET_DIR)/release"
	cargo build --release --bin virga-manager --bin virga-agent --bin virga

web: ## build the portal into web/dist; the manager holds it when it is built next
	@scripts/web.sh build

run: build ## run manager, agent and a demo VM on this machine; Ctrl-C ends manager and agent
	@scripts/guest-image.sh "$(VIRGA_GUEST_DIR)"
	@scripts/run.sh

stop: ## end all that `make run` started and REMOVE its VMs, networks and state
	@scripts/stop.sh

demo: ## try Virga without servers: 100 simulated hosts with 5,000 VMs, or HOSTS=1000 VMS=20000; no KVM, no root
	@scripts/web.sh try
	@echo "demo: virga-manager, virga-fleet and virga into $(CARGO_TARGET_DIR)/release"
	cargo build --release --bin virga-manager --bin virga-fleet --bin virga
	@$(if $(HOSTS),VIRGA_DEMO_HOSTS=$(HOSTS)) $(if $(VMS),VIRGA_DEMO_VMS=$(VMS)) scripts/demo.sh

demo-stop: ## end the demo that runs, from another terminal
	@scripts/demo.sh --stop

check: ## format, lints and fast tests; no virtual machine
	@echo "check: format"
	cargo fmt --check
	@echo "check: lints"
	cargo clippy --workspace --all-targets -- -D warnings
	@echo "check: portal"
	@scripts/web.sh check
	@echo "check: tests without the system tests"
	cargo nextest run --workspace -E 'not package(virga-tests)'

test: ## everything that must pass: format, lints, all tests, also those on real QEMU
	@scripts/setup.sh test
	@scripts/guest-image.sh "$(VIRGA_GUEST_DIR)"
	@scripts/guest-image.sh --any-hardware
	@echo "test: format"
	cargo fmt --check
	@echo "test: lints"
	cargo clippy --workspace --all-targets -- -D warnings
	@echo "test: portal"
	@scripts/web.sh check
	@scripts/web.sh build
	@echo "test: all tests"
	cargo nextest run --workspace

bench: ## measure and compare with the limits
	cargo xtask bench

fmt: ## format the code
	cargo fmt
