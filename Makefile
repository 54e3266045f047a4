# The two commands: `make run` and `make test`, on a fresh Debian 12 or 13, as root. Each installs what it needs (dev/setup/prepare).
#
#   make run [FOR=20] [REPORT=out.json]   the whole product on this machine; KUBECONFIG=... for a cluster instead of the stand-in
#   make test                             every test that this machine can run, within 25 minutes
#   make check                            the quick part, without root: lint, types, architecture, words, unit tests
#   make bench                            memory and CPU beside other ways; each protocol and schema; what the API server sees
#   make bench-store                      the store with 100 million forks in it: speed, bytes a fork, each view's time. An hour, no root
#   make bench-fleet                      what API servers see of 5,000 agents, in virtual time: a minute or two, no root
#   make soak [FOR=30m]                   1,000 forks a second for so long: memory, descriptors, ledger
#   make attack                           attacks on a real agent and collector under the chart's memory limits: a table. 10 minutes, root
#   make long                             the long form of tests that are short in make test: survival, storms, churn, crash lives
#   make fuzz [FOR=10m] [TARGET=tokens]  fuzzes every parser of foreign bytes, so long each (tests/fuzz); no root
#   make image                            both images, with buildah
#   make release                          images, chart and SBOMs of this version, and one tar that installs offline. Root
#   make cluster                          the chart's pods and fourteen kinds of workload in real containers: a table. Root, minutes
#   make kernels                          the kernel tests on Debian's 5.10, 6.1 and 6.12, in qemu
#   make manifests                        renders manifests/ and the chart's tables anew
#   make lock [UPGRADE=1]                 renews dev/requirements/*.txt
#   make clean                            removes what these made
#
# make itself always ends with 2 when something failed, and prints the real code (`Error 77`); where a script needs that,
# it calls dev/setup/run instead: 0 all accounted for, 3 something lost, 69 a package is not available, 77 not root.

.PHONY: run test check bench bench-fleet bench-store soak attack long fuzz image cluster release kernels manifests lock clean
export FOR REPORT TARGET UPGRADE

run:
	@exec dev/setup/run

test:
	@exec dev/setup/test

check:
	@exec dev/setup/check

bench:
	@dev/setup/prepare bench
	@exec .venv/bin/python -m dev.bench

bench-store:
	@dev/setup/prepare bench
	@exec .venv/bin/python -m dev.bench.store

bench-fleet:
	@dev/setup/prepare check
	@exec .venv/bin/python -m dev.bench.api_server.fleet

soak:
	@exec dev/setup/soak

attack:
	@exec dev/setup/attack

long:
	@dev/setup/prepare test
	@AWAY_S=$${AWAY_S:-60} CONTAINERS=$${CONTAINERS:-200} REPLACEMENTS=$${REPLACEMENTS:-8} BOMB_FORKS=$${BOMB_FORKS:-300000} STALL_S=$${STALL_S:-30} LIVES=$${LIVES:-5000} EXAMPLES=$${EXAMPLES:-500} \
	    exec .venv/bin/python -m pytest -ra --timeout=1200 \
	    tests/kernel/test_survival.py tests/kernel/test_storm.py tests/kernel/test_sinks.py tests/kernel/test_churn.py tests/kernel/test_capture.py \
	    tests/agent/test_lives.py tests/agent/journal/test_against_model.py tests/agent/test_program_instance.py tests/agent/sinks tests/agent/attribution \
	    tests/collector/store/test_insert.py

fuzz:
	@exec dev/setup/fuzz

image:
	@exec dev/setup/image

release:
	@exec dev/setup/release

cluster:
	@exec dev/setup/cluster

kernels:
	@exec dev/setup/kernels

manifests:
	@dev/setup/prepare test
	@exec dev/setup/manifests

lock:
	@exec dev/setup/lock

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
