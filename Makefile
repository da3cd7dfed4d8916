# `make` alone lists the targets. Variables: CC, CXX, CFLAGS, WARNINGS, PYTHON, VENV.

CC = cc
CFLAGS = -O3
WARNINGS = -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Werror
PYTHON = python3
VENV = .venv
BUILD = build
SANITIZE =

# What the arithmetic contract and the two kinds of library need, whatever CFLAGS says.
NEEDED = -std=gnu11 -ffp-contract=off -fno-math-errno -fPIC -fvisibility=hidden -pthread $(SANITIZE)
COMPILE = $(CC) $(CFLAGS) $(NEEDED) $(WARNINGS)

SOURCES = $(wildcard csrc/*.c csrc/kernels/*.c)
HEADERS = $(wildcard csrc/*.h csrc/kernels/*.h csrc/kernels/*.inc)
OBJECTS = $(SOURCES:csrc/%.c=$(BUILD)/obj/%.o)
PACKAGE = $(SOURCES) $(HEADERS) $(wildcard pynn/*.py pynn/*/*.py) setup.py pyproject.toml
SHARED = $(BUILD)/libpynn.$(if $(filter Darwin,$(shell uname -s)),dylib,so)
HAVE_CLANG = $(shell command -v clang)

JOBS := $(shell getconf _NPROCESSORS_ONLN)
PARALLEL = $(MAKE) --no-print-directory -j$(JOBS)
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: help demo test lint lib test-c test-python test-neon fuzz bench bench-peers bench-exactness asan ubsan tsan \
	selftest same-bits cortex-m sizes exhaustive peers clean \
	tools test-programs test-plain test-pages test-switches test-emulated test-emulated-programs asan-c asan-python \
	lint-c lint-python FORCE

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/pynn.installed $(VENV)/matplotlib.installed ## train on real data and draw what came out
	$(VENV)/bin/python examples/digits.py

test: test-c test-python ## all tests of C and Python

lint: lint-c lint-python ## strict warnings under gcc and clang, ruff, mypy

lib: $(BUILD)/libpynn.a $(SHARED) ## the C library, static and shared; needs no Python

test-c: test-programs test-plain test-pages test-switches test-emulated ## the tests of the C library

test-python: $(VENV)/pynn.installed $(VENV)/pytest.installed ## the tests of the Python package
	$(VENV)/bin/pytest

fuzz: ## random nets, ten minutes; FUZZ='60 1234' for 60 seconds from seed 1234
	@$(PARALLEL) $(BUILD)/tests/fuzz
	$(BUILD)/tests/fuzz $(FUZZ)

bench: $(VENV)/pynn.installed $(BUILD)/bench/kernels ## time kernels, training steps, prediction and threads; BENCH=--quick for less
	CC='$(CC)' $(VENV)/bin/python bench/run.py $(BENCH)

bench-peers: $(BUILD)/bench/kernels ## the same beside PyTorch, JAX, scikit-learn and ONNX Runtime; writes docs/benchmarks.md
	$(MAKE) --no-print-directory VENV=$(PEERS) $(CONTESTANTS:%=$(PEERS)/%.installed)
	CC='$(CC)' $(PEERS)/bin/python bench/run.py --peers $(BENCH)

bench-exactness: $(VENV)/pynn.installed ## the price of the arithmetic contract: a step with its rules and without
	CC='$(CC)' $(VENV)/bin/python bench/exactness.py

asan: asan-c asan-python ## all tests under the sanitizers for addresses and undefined behaviour

ubsan: ## the C tests under the sanitizer for undefined behaviour alone
	$(MAKE) test-programs BUILD=$(BUILD)/ubsan SANITIZE='$(UBSAN_FLAGS)' CFLAGS='-O1 -g'

tsan: ## the C tests with threads, and random nets, under the sanitizer for data races
	$(MAKE) test-programs fuzz BUILD=$(BUILD)/tsan SANITIZE=-fsanitize=thread CFLAGS='-O2 -g' FUZZ=30 \
		TESTS='$$(THREADED:tests/c/%.c=$(BUILD)/tsan/tests/%)'

selftest: $(BUILD)/selftest ## does this machine keep the arithmetic contract?
	$(BUILD)/selftest

same-bits: ## the same on every platform that can be run or emulated here, and the table of docs/same-bits.md
	$(PYTHON) tests/same_bits.py --write

cortex-m: $(BUILD)/libpynn.a ## predict and train on an emulated Cortex-M4F: the bits of this machine, sizes, stack
	$(PYTHON) tests/cortex_m/run.py $<

sizes: $(BUILD)/libpynn.a ## the sizes of that as the tables of docs/c-api.md
	$(PYTHON) tests/cortex_m/run.py $< --table

exhaustive: ## the elementary functions over all 2^32 inputs, fma without the instruction over 10^9
	@$(PARALLEL) $(EXHAUSTIVE) $(FMA)
	@$(call RUN_ALL,$(FMA) $(lastword $(EXHAUSTIVE)))
	@$(SAME_FUNCTIONS)

peers: $(VENV)/scikit-learn.installed $(VENV)/torch.installed ## install PyTorch and scikit-learn into .venv, for the tests that compare

clean: ## remove everything that was built
	rm -rf build dist .venv *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- library ---------------------------------------------------------------

# Changes when the compiler, a flag or the list of sources does, and with it everything is built again.
$(BUILD)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(COMPILE) $(SOURCES)' | cmp -s - $@ || echo '$(COMPILE) $(SOURCES)' > $@

$(BUILD)/obj/%.o: csrc/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(COMPILE) -MMD -MP -c $< -o $@

-include $(OBJECTS:.o=.d)

$(BUILD)/libpynn.a: $(OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $(OBJECTS)

$(SHARED): $(OBJECTS)
	$(CC) $(CFLAGS) $(NEEDED) -shared $(OBJECTS) -o $@

$(BUILD)/selftest: examples/selftest.c $(BUILD)/libpynn.a
	$(COMPILE) -I csrc $< $(BUILD)/libpynn.a -o $@

# ---- C tests ---------------------------------------------------------------

# Compiled against the library: all but those that compile the sources in a way of their own.
LINKED_TESTS = $(filter-out tests/c/test_gradients.c,$(wildcard tests/c/test_*.c))
PROGRAMS = $(LINKED_TESTS:tests/c/%.c=$(BUILD)/tests/%)
THREADED = $(shell grep -l pynn_threads_start $(LINKED_TESTS))

$(BUILD)/tests/%.o: tests/c/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(COMPILE) -I csrc -MMD -MP -c $< -o $@

-include $(PROGRAMS:%=%.d) $(BUILD)/tests/fuzz.d

$(PROGRAMS) $(BUILD)/tests/fuzz: %: %.o $(BUILD)/libpynn.a
	$(CC) -pthread $(SANITIZE) $< $(BUILD)/libpynn.a -lm -o $@

# The whole core in double, but for the kernels of instruction sets, which stay what they are.
DOUBLE = -Dfloat=double -include tests/c/simd_double.h -DPYNNI_VOCABULARY='"../../tests/c/simd_double.h"'
IN_DOUBLE = $(filter-out csrc/kernels/%,$(SOURCES)) csrc/kernels/scalar.c
DOUBLE_OBJECTS = $(IN_DOUBLE:csrc/%.c=$(BUILD)/double/%.o) \
	$(patsubst csrc/%.c,$(BUILD)/obj/%.o,$(filter-out $(IN_DOUBLE),$(SOURCES)))

$(BUILD)/double/%.o: csrc/%.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(NEEDED) $(DOUBLE) -MMD -MP -c $< -o $@

-include $(patsubst csrc/%.c,$(BUILD)/double/%.d,$(IN_DOUBLE))

$(BUILD)/tests/test_gradients: tests/c/test_gradients.c $(wildcard tests/c/*.h) $(DOUBLE_OBJECTS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(NEEDED) $(DOUBLE) -I csrc $< $(DOUBLE_OBJECTS) -lm -o $@

$(BUILD)/tests/test_header: tests/c/test_header.cpp $(BUILD)/libpynn.a
	@mkdir -p $(@D)
	$(CXX) -Wall -Wextra -Wpedantic -Werror -pthread $(SANITIZE) -I csrc $< $(BUILD)/libpynn.a -o $@

# Every vocabulary that the build machine can run.
NATIVE := $(shell { $(CC) -march=native -dM -E -x c /dev/null || $(CC) -dM -E -x c /dev/null; } 2>/dev/null)
VOCABULARIES := scalar $(and $(filter __x86_64__,$(NATIVE)),sse2) $(and $(filter __AVX2__,$(NATIVE)),avx2) \
	$(and $(filter __AVX512F__,$(NATIVE)),avx512) $(and $(filter __aarch64__,$(NATIVE)),neon)
flags.avx2 = -mavx2 -mfma
flags.avx512 = -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma
EXHAUSTIVE = $(VOCABULARIES:%=$(BUILD)/exhaustive-%)

$(BUILD)/exhaustive-%: tests/c/exhaustive.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) -O2 -std=gnu11 -ffp-contract=off $(flags.$*) -DPYNNI_VOCABULARY='"../../csrc/kernels/simd_$*.h"' $< -lm -o $@

# Those that put fma together.
FMA = $(patsubst %,$(BUILD)/fma-%,$(filter scalar sse2,$(VOCABULARIES)))

$(BUILD)/fma-%: tests/c/fma.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) -O2 -std=gnu11 -ffp-contract=off -DPYNNI_VOCABULARY='"../../csrc/kernels/simd_$*.h"' $< -o $@

# Every 4099th input of every function, within its bound and with the same bits in all vocabularies.
define SAME_FUNCTIONS
for program in $(EXHAUSTIVE); do \
	$$program 4099 > $$program.txt || { cat $$program.txt; exit 1; }; \
	cmp $$program.txt $(BUILD)/exhaustive-scalar.txt || exit 1; \
done; \
echo elementary functions: within their bounds, the same bits in $(words $(EXHAUSTIVE)) instruction sets
endef

FUZZ = 600
TESTS = $(PROGRAMS) $(BUILD)/tests/test_gradients $(BUILD)/tests/test_header
RUN =
RUN_ALL = printf '%s\n' $(1) | xargs -P $(JOBS) -I PROGRAM \
	sh -c '$(RUN) PROGRAM >PROGRAM.txt 2>&1; status=$$?; echo PROGRAM; cat PROGRAM.txt; exit $$status'

test-programs:
	@$(PARALLEL) $(TESTS)
	@$(call RUN_ALL,$(TESTS))

# At -O3 gcc 12 for Arm fails to compile one of the tests.
test-neon: ## the C tests on an emulated 64-bit Arm; apt-get install gcc-aarch64-linux-gnu qemu-user
	@$(MAKE) --no-print-directory test-programs BUILD=$(BUILD)/aarch64 CC=aarch64-linux-gnu-gcc SANITIZE=-static CFLAGS=-O2 \
		RUN=qemu-aarch64 TESTS='$$(PROGRAMS)'

# The programs on these pages and an example, each compiled strictly and run.
PAGES = README.md docs/c-api.md

test-pages: $(BUILD)/libpynn.a
	@rm -rf $(BUILD)/pages && mkdir -p $(BUILD)/pages && cp examples/xor.c $(BUILD)/pages
	@awk -v folder=$(BUILD)/pages '/^```c$$/ { text = ""; inside = 1; next } \
		/^```$$/ { if (inside && text ~ /int main/) printf "%s", text > (folder "/" ++count ".c"); inside = 0 } \
		inside { text = text $$0 "\n" }' $(PAGES)
	@for page in $(BUILD)/pages/*.c; do echo $$page; \
		$(CC) -std=gnu11 $(WARNINGS) -pthread $(SANITIZE) -I csrc $$page $< -o $${page%.c} && $${page%.c} || exit 1; done

# What a build can leave out, as the table of docs/c-api.md says.
switches.layers = -DPYNN_ONLY_LAYERS='1<<PYNN_RELU|1<<PYNN_SOFTMAX'
switches.losses = -DPYNN_ONLY_LOSSES='1<<PYNN_MEAN_SQUARED_ERROR|1<<PYNN_CROSS_ENTROPY'
switches.optimizers = -DPYNN_ONLY_OPTIMIZERS='1<<PYNN_ADAM'
switches.training = -DPYNN_WITHOUT_TRAINING
switches.threads = -DPYNN_WITHOUT_THREADS
switches.environment = -DPYNN_WITHOUT_ENVIRONMENT
switches.answers = -DPYNN_WITHOUT_KNOWN_ANSWERS
switches.sse2 = -DPYNN_WITHOUT_SSE2
switches.avx2 = -DPYNN_WITHOUT_AVX2
switches.avx512 = -DPYNN_WITHOUT_AVX512
switches.scalar = $(switches.sse2) $(switches.avx2) $(switches.avx512) -DPYNN_WITHOUT_NEON
switches.small = -Os $(switches.scalar) $(switches.threads) $(switches.environment) $(switches.answers)
switches.smallest = $(switches.small) $(switches.training) $(switches.layers)
switches.smaller = $(switches.small) $(switches.layers) $(switches.losses) $(switches.optimizers)
SWITCHES = whole layers losses optimizers training threads environment answers sse2 avx2 avx512 scalar small smaller smallest
SCALAR_SOURCES = $(filter-out csrc/kernels/%,$(SOURCES)) csrc/kernels/scalar.c

$(BUILD)/switches/%: tests/c/switches.c $(SOURCES) $(HEADERS) $(BUILD)/flags
	@mkdir -p $(@D)
	$(CC) -O1 $(NEEDED) $(WARNINGS) $(switches.$*) -I csrc $< \
		$(if $(filter scalar small%,$*),$(SCALAR_SOURCES),$(SOURCES)) -o $@

test-switches:
	@$(PARALLEL) $(SWITCHES:%=$(BUILD)/switches/%)
	@$(call RUN_ALL,$(SWITCHES:%=$(BUILD)/switches/%))
	@! nm -u $(BUILD)/switches/environment | grep -w getenv
	@! nm -u $(BUILD)/switches/threads | grep pthread_create

# The bits do not come from our flags: once without any, and once with an instruction that invites contraction.
CLANG_FMA = clang -O2 $(if $(filter x86_64 amd64,$(shell uname -m)),-mfma)

# Flags that break the contract must be refused, by the compiler or by the library; "-O2" makes sure that neither is always.
WRONG_FLAGS = -O2 -Ofast -funsafe-math-optimizations -freciprocal-math -ffp-contract=fast -fsingle-precision-constant
FLAG_COMPILERS = $(CC) $(if $(HAVE_CLANG),clang)

test-plain: $(EXHAUSTIVE) $(FMA)
	@mkdir -p $(BUILD)/tests
	$(CC) -O2 -I csrc tests/c/test_train.c $(SOURCES) -lm -o $(BUILD)/tests/test_train_plain
	$(BUILD)/tests/test_train_plain
	$(CC) -O2 tests/c/one_unit.c -o $(BUILD)/tests/one_unit
	$(BUILD)/tests/one_unit
ifneq ($(HAVE_CLANG),)
	$(CLANG_FMA) -I csrc tests/c/test_train.c $(SOURCES) -lm -o $(BUILD)/tests/test_train_clang
	$(BUILD)/tests/test_train_clang
endif
	@for compiler in $(FLAG_COMPILERS); do for flag in $(WRONG_FLAGS); do echo $$compiler -O2 $$flag; \
		$$compiler -O2 $$flag -w -I csrc tests/c/flags.c $(SOURCES) -o $(BUILD)/tests/flags 2>/dev/null || \
			{ echo refused at compile time; continue; }; $(BUILD)/tests/flags || exit 1; done; done
	@$(SAME_FUNCTIONS)
	@for program in $(FMA); do $$program 10000000 || exit 1; done

# AVX-512 in plain C, on machines with AVX2, whether they have AVX-512 or not.
EMULATED = $(and $(filter __AVX2__,$(NATIVE)),$(if $(filter __clang__,$(NATIVE)),,$(LINKED_TESTS)))
EMULATED_HERE = $(if $(EMULATED),on a machine that $(if $(filter __AVX512F__,$(NATIVE)),has,lacks) it,not run: it takes gcc and AVX2)
emulate.kernels/avx512 = -I tests/c/emulated -Wno-psabi -O1
emulate.dispatch = '-D__builtin_cpu_supports(x)=1'

$(BUILD)/emulated/%.o: csrc/%.c $(wildcard tests/c/emulated/*) $(BUILD)/flags
	@mkdir -p $(@D)
	$(COMPILE) $(emulate.$*) -MMD -MP -c $< -o $@

-include $(SOURCES:csrc/%.c=$(BUILD)/emulated/%.d)

$(BUILD)/emulated/test_%: $(BUILD)/tests/test_%.o $(SOURCES:csrc/%.c=$(BUILD)/emulated/%.o)
	$(CC) -pthread $(SANITIZE) $^ -lm -o $@

test-emulated:
	@echo 'AVX-512 written out in C, $(EMULATED_HERE)'
	@$(PARALLEL) test-emulated-programs
	@! objdump -d $(BUILD)/emulated/kernels/avx512.o 2>/dev/null | grep -q zmm || { echo 'not emulated'; exit 1; }
	@$(call RUN_ALL,$(EMULATED:tests/c/%.c=$(BUILD)/emulated/%))

test-emulated-programs: $(EMULATED:tests/c/%.c=$(BUILD)/emulated/%)

# ---- benchmarks ------------------------------------------------------------

PEERS = $(BUILD)/peers
CONTESTANTS = pynn torch jax scikit-learn onnxruntime onnx matplotlib

$(BUILD)/bench/vocabulary-%.o: bench/vocabulary.c bench/vocabulary.h $(HEADERS) $(BUILD)/flags
	@mkdir -p $(@D)
	$(COMPILE) $(flags.$*) -DISA=$* -DPYNNI_VOCABULARY='"kernels/simd_$*.h"' -I csrc -c $< -o $@

$(BUILD)/bench/kernels: bench/kernels.c bench/vocabulary.h tests/c/oracle.h $(VOCABULARIES:%=$(BUILD)/bench/vocabulary-%.o) \
		$(BUILD)/libpynn.a
	$(COMPILE) -D'VOCABULARIES(X)=$(foreach isa,$(VOCABULARIES),X($(isa)))' -I csrc -I tests/c $< $(filter %.o %.a,$^) -lm -o $@

# ---- Python ----------------------------------------------------------------

PYTHON_IS_FIT = import ensurepip, os, sys, sysconfig, venv; \
	sys.exit(sys.version_info < (3, 10) or not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))

tools:
	@missing=; sudo=; \
	printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | $(CC) -x c - -o /dev/null 2>/dev/null || \
		missing='a C compiler with its headers; '; \
	$(PYTHON) -c '$(PYTHON_IS_FIT)' 2>/dev/null || missing="$${missing}Python 3.10 or later with venv and headers; "; \
	test -n "$$missing" || exit 0; \
	echo "missing: $${missing%; }"; \
	test "$$(id -u)" = 0 || sudo='sudo '; \
	if command -v apt-get >/dev/null; then echo "$${sudo}apt-get install build-essential python3-dev python3-venv"; \
	elif command -v dnf >/dev/null; then echo "$${sudo}dnf install gcc make python3-devel"; \
	elif command -v brew >/dev/null; then echo 'xcode-select --install; brew install python'; fi; \
	case $$missing in *Python*) echo 'or name another interpreter: make demo PYTHON=...' ;; esac; \
	exit 1

$(VENV)/bin/python: | tools
	$(PYTHON) -m venv $(VENV)

# build/lib.* would keep modules that no longer exist.
$(VENV)/pynn.installed: $(PACKAGE) | $(VENV)/bin/python
	@rm -rf build/lib.*
	$(PIP) install .
	@touch $@

packages.lint = ruff mypy
packages.pytest = pytest hypothesis
packages.torch = torch==2.13.0

$(VENV)/%.installed: | $(VENV)/bin/python
	$(PIP) install $(or $(packages.$*),$*)
	@touch $@

# ---- sanitizers ------------------------------------------------------------

ASAN_FLAGS = -fsanitize=address,undefined -fno-sanitize-recover=all
UBSAN_FLAGS = -fsanitize=undefined -fno-sanitize-recover=all
ASAN_RUNTIME = $(shell $(CC) -print-file-name=libasan.so) $(shell $(CC) -print-file-name=libstdc++.so)
ASAN_SITE = $(BUILD)/asan/site

asan-c:
	$(MAKE) test-programs fuzz BUILD=$(BUILD)/asan SANITIZE='$(ASAN_FLAGS)' CFLAGS='-O1 -g' FUZZ=60

# From a copy of the sources, so that no object of the ordinary build is taken; -O3 would take minutes.
$(ASAN_SITE)/installed: $(PACKAGE) | $(VENV)/pynn.installed
	@rm -rf $(ASAN_SITE) $(BUILD)/asan/src
	@mkdir -p $(BUILD)/asan/src
	cp -R csrc pynn setup.py pyproject.toml README.md LICENSE $(BUILD)/asan/src
	sed 's/-O3/-O1/' pynn/_build_ffi.py > $(BUILD)/asan/src/pynn/_build_ffi.py
	CFLAGS='$(ASAN_FLAGS) -g' $(PIP) install --no-deps --target $(ASAN_SITE) $(BUILD)/asan/src
	@touch $@

# The runtime must be loaded first. What Python leaves to the end of the process is no leak of ours.
asan-python: $(ASAN_SITE)/installed $(VENV)/pytest.installed
	LD_PRELOAD='$(ASAN_RUNTIME)' ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=$(CURDIR)/$(ASAN_SITE) \
		$(VENV)/bin/pytest -p no:cacheprovider

# ---- lint ------------------------------------------------------------------

STRICT = -O1 -std=gnu11 -ffp-contract=off -fno-math-errno -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Werror

lint-c: $(BUILD)/bench/kernels
	@for compiler in gcc clang; do \
		command -v $$compiler >/dev/null || { echo "$$compiler is not here"; continue; }; \
		printf '%s\n' $(SOURCES) $(wildcard examples/*.c bench/step.c) | \
			xargs -P $(JOBS) -I FILE $$compiler $(STRICT) -I csrc -c FILE -o /dev/null || exit 1; \
		echo "$$compiler: no warning"; \
	done
	$(CXX) -std=c++11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only -x c++ csrc/pynn.h
	@awk 'length > 120 { print FILENAME ":" FNR ": a line of " length " characters"; found = 1 } END { exit found }' \
		$(wildcard $(foreach in,csrc csrc/kernels tests/c tests/c/emulated tests/cortex_m examples bench,\
			$(in)/*.c $(in)/*.h $(in)/*.inc $(in)/*.cpp))

lint-python: $(VENV)/pynn.installed $(VENV)/lint.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
