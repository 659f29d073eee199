# Kiln. `make run` and `make test` are all that a new machine needs: they install
# what is missing. `make help` lists the rest.

BUILD     ?= build
PREFIX    ?= /usr/local
DESTDIR   ?=
CC        ?= gcc
AR        ?= ar
CFLAGS    ?= -O2 -g
JOBS      ?= $(shell nproc)
PYTHON    ?= /usr/bin/python3
PYTHON_CONFIG ?= /usr/bin/python3-config
FUZZ_SECONDS  ?= 30

ifeq ($(origin CC),default)
CC = gcc
endif
# V=1 shows the commands.
Q := $(if $(V),,@)
SAY = $(if $(V),@:,@printf '  %-5s %s\n')

comma := ,
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:

# ------------------------------------------------------------------- packages
# Debian's names. What is asked for is what a goal uses, and no more.
PACKAGES_RUN = gcc libc6-dev make pkg-config bash python3 libpython3-dev python3-matplotlib \
  libluajit-5.1-dev libuv1-dev libjansson-dev libsodium-dev libseccomp-dev libinih-dev \
  libhttp-parser-dev libpcre2-dev libarchive-dev libpng-dev libreadline-dev libffi-dev git diffutils
PACKAGES_TEST = $(PACKAGES_RUN) luajit perl libcmocka-dev python3-nbformat python3-numpy \
  python3-pandas python3-ipython python3-jinja2 python3-sympy python3-tqdm python3-plotly \
  python3-altair lua5.4 curl util-linux podman runc catatonit debootstrap busybox-static \
  $(if $(shell command -v node),,nodejs)
PACKAGES_LINT = $(PACKAGES_TEST) clang clang-format clang-tidy cppcheck
PACKAGES_FUZZ = $(PACKAGES_TEST) clang libclang-rt-14-dev
PACKAGES_BENCH = $(PACKAGES_TEST) bubblewrap jupyter-nbconvert jupyter-core python3-ipykernel \
  python3-nbclient python3-jupyter-client
PACKAGES_REAL = $(PACKAGES_BENCH) python-skimage-doc python-sklearn-doc python-statsmodels-doc \
  libpython3.11-testsuite python3-skimage python3-sklearn python3-statsmodels
PACKAGES_SCENARIOS = $(PACKAGES_RUN) json-schema-test-suite python3-jsonschema node-ajv
PACKAGES_V2 = $(PACKAGES_TEST) qemu-system-x86 seabios busybox-static cpio bash util-linux

# ---------------------------------------------------------------------- flags
PKGS = luajit libuv jansson libsodium libseccomp inih libpcre2-8
WARNINGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Werror
HARDENING = -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong
HARDENING_LD = -Wl,-z,relro,-z,now -Wl,--as-needed -Wl,-z,defs
ifdef SANITIZE
# _FORTIFY_SOURCE hides calls from ASan.
HARDENING = -fno-omit-frame-pointer -fsanitize=$(SANITIZE) -fno-sanitize-recover=undefined
HARDENING_LD = -fsanitize=$(SANITIZE)
endif
ifdef COVERAGE
HARDENING = --coverage
HARDENING_LD = --coverage
endif

# Asked once, when the first recipe needs it: the packages may have just come.
once = $(eval $(1) := $(shell $(2)))$($(1))
PKG_CFLAGS = $(call once,PKG_CFLAGS,pkg-config --cflags $(PKGS))
# In kiln itself they are linked in: it is started for each run, and every library that
# the dynamic linker has to find costs some 0.3 ms.
KILN_LIBS = $(if $(SANITIZE)$(COVERAGE),$(PKG_LIBS),-Wl,-Bstatic -lluajit-5.1 -l:libuv_a.a -ljansson \
  -lsodium -lseccomp -linih -lhttp_parser -lpcre2-8 -Wl,-Bdynamic -lm -ldl -static-libgcc -lgcc_eh)
PKG_LIBS = $(call once,PKG_LIBS,pkg-config --libs $(PKGS); echo -lhttp_parser -lm)
LUAJIT = $(call once,LUAJIT,pkg-config --cflags --libs luajit)
CMOCKA = $(call once,CMOCKA,pkg-config --cflags --libs cmocka)
PYTHON_CFLAGS = $(call once,PYTHON_CFLAGS,$(PYTHON_CONFIG) --includes | sed 's/-I/-isystem /g')
PYTHON_ARCHIVE = $(call once,PYTHON_ARCHIVE,ls $$($(PYTHON_CONFIG) --configdir)/libpython3*[0-9].a)

COMMON = -std=gnu17 -D_GNU_SOURCE $(WARNINGS) $(HARDENING) $(CPPFLAGS) $(CFLAGS) -MMD -MP
ENGINE_CFLAGS = $(COMMON) -fPIE -fvisibility=hidden -Iengine -Iengine/include
# A plugin sees the public header and its own folder, nothing else of ours. -Wa:
# the assembler looks for .incbin files there, too.
PLUGIN_CFLAGS = $(COMMON) -fPIC -fvisibility=hidden -Iengine/include -I$(@D:$(BUILD)/%=%) -I$(@D) \
  -Wa,-I$(@D:$(BUILD)/%=%)

# ---------------------------------------------------------------------- files
ENGINE_SOURCES := $(wildcard engine/*/*.c)
ENGINE_OBJECTS := $(ENGINE_SOURCES:%.c=$(BUILD)/%.o)
MAIN := $(BUILD)/engine/cli/main.o
STANDALONE := $(BUILD)/engine/worker/standalone_main.o
# Of native.worker alone: libffi is in no other process.
NATIVE_WORKER := $(BUILD)/engine/native/helper.o $(BUILD)/engine/native/marshal.o
PLUGINS := $(notdir $(patsubst %/,%,$(dir $(wildcard plugins/*/*.c))))
PLUGINS := $(sort $(PLUGINS))
WORKERS := $(BUILD)/plugins/interpreter.worker $(BUILD)/plugins/bundle.worker \
  $(BUILD)/plugins/native.worker
PLUGIN_SOURCES := $(wildcard plugins/*/*.c)
TEST_PLUGINS := $(patsubst %.c,$(BUILD)/%.so,$(wildcard t/plugins/*.c))
UNITS := $(patsubst %.c,$(BUILD)/%,$(wildcard t/unit/*_test.c))
UNIT_HELPERS := $(filter-out %_test.c,$(wildcard t/unit/*.c))
BENCHES := $(patsubst %.c,$(BUILD)/%,$(wildcard t/bench/*.c))
FUZZERS := $(patsubst %.c,$(BUILD)/%,$(wildcard t/fuzz/*_fuzz.c))
HEADERS := $(wildcard engine/*/*.h engine/include/kiln/*.h plugins/*/*.h t/*/*.h)
C_SOURCES := $(ENGINE_SOURCES) $(PLUGIN_SOURCES) $(wildcard t/*/*.c)

# ---------------------------------------------------------------------- build
all: $(BUILD)/kiln $(PLUGINS:%=$(BUILD)/plugins/%.so) $(WORKERS)

$(BUILD)/kiln: $(MAIN) $(BUILD)/libkiln.a
	$(SAY) LINK $@
	$(Q)$(CC) $(CFLAGS) $(HARDENING_LD) $(LDFLAGS) -pie -o $@ $^ $(KILN_LIBS)

# For the unit tests, fuzzers and benchmarks as much as for kiln itself. Made
# anew each time, so that a deleted source leaves no object behind.
$(BUILD)/libkiln.a: $(filter-out $(MAIN) $(STANDALONE) $(NATIVE_WORKER),$(ENGINE_OBJECTS))
	@rm -f $@
	$(SAY) AR $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/engine/%.o: engine/%.c Makefile
	@mkdir -p $(@D)
	$(SAY) CC $@
	$(Q)$(CC) $(ENGINE_CFLAGS) $(PKG_CFLAGS) -c -o $@ $<

$(BUILD)/plugins/%.o: plugins/%.c Makefile
	@mkdir -p $(@D)
	$(SAY) CC $@
	$(Q)$(CC) $(PLUGIN_CFLAGS) -c -o $@ $<

# The interpreter carries its Python sources inside, as text and as bytecode of the
# very Python that it links.
INTERPRETER := plugins/interpreter
INTERPRETER_PY := $(filter-out %/freeze.py,$(wildcard $(INTERPRETER)/*.py))
BYTECODE := $(BUILD)/$(INTERPRETER)/interpreter_bytecode.h
$(BUILD)/$(INTERPRETER)/%.o: PLUGIN_CFLAGS += $(PYTHON_CFLAGS)
$(patsubst %.c,$(BUILD)/%.o,$(wildcard $(INTERPRETER)/*.c)): $(INTERPRETER_PY) $(BYTECODE)
# Its worker half is a program with libpython in it, as python3 is: linked at a fixed
# place and exporting what extension modules look for.
# The few libraries that it needs lie inside, too: each that the dynamic linker has to
# find costs some 0.4 ms of every start.
WORKER_LIBS = -ljansson -lsodium -lseccomp -lexpat -lz
INTERPRETER_WORKER := $(patsubst %.c,$(BUILD)/%.o,$(filter-out %/interpreter.c,$(wildcard $(INTERPRETER)/*.c)))
$(BUILD)/plugins/interpreter.worker: $(STANDALONE) $(INTERPRETER_WORKER) $(BUILD)/libkiln.a
	$(SAY) LINK $@
	$(Q)$(CC) $(CFLAGS) $(filter-out -Wl$(comma)-z$(comma)defs,$(HARDENING_LD)) $(LDFLAGS) -no-pie \
	  -Wl,--export-dynamic -o $@ $^ -Wl,--whole-archive $(PYTHON_ARCHIVE) -Wl,--no-whole-archive \
	  -Wl,-Bstatic $(WORKER_LIBS) -Wl,-Bdynamic -ldl -lm
$(BYTECODE): $(INTERPRETER)/freeze.py $(INTERPRETER_PY) Makefile
	@mkdir -p $(@D)
	$(SAY) GEN $@
	$(Q)$(PYTHON) $< $(INTERPRETER_PY) >$@

# The agent is embedded, too, with the runner that it shares with the interpreter.
CONTAINER := plugins/container
$(BUILD)/$(CONTAINER)/sources.o: PLUGIN_CFLAGS += -I$(INTERPRETER) -Wa,-I$(INTERPRETER)
$(BUILD)/$(CONTAINER)/sources.o: $(INTERPRETER_PY) $(wildcard $(CONTAINER)/*.py)
$(BUILD)/plugins/container.so: PLUGIN_LIBS = -lhttp_parser -ljansson -lsodium

# The bundle's worker half is a program of its own, too: libarchive and libpng are in no
# process that does not read archives or pictures.
BUNDLE_WORKER := $(patsubst %.c,$(BUILD)/%.o,$(filter-out %/bundle.c,$(wildcard plugins/bundle/*.c)))
$(BUILD)/plugins/bundle.worker: $(STANDALONE) $(BUNDLE_WORKER) $(BUILD)/libkiln.a
	$(SAY) LINK $@
	$(Q)$(CC) $(CFLAGS) $(HARDENING_LD) $(LDFLAGS) -pie -o $@ $^ -larchive -lpng -ljansson -lsodium \
	  -lseccomp -lm

$(BUILD)/plugins/native.worker: $(STANDALONE) $(NATIVE_WORKER) $(BUILD)/libkiln.a
	$(SAY) LINK $@
	$(Q)$(CC) $(CFLAGS) $(HARDENING_LD) $(LDFLAGS) -pie -o $@ $^ -Wl,-Bstatic -lffi -Wl,-Bdynamic \
	  -ljansson -lsodium -lseccomp -linih -lm

define plugin
$(BUILD)/plugins/$(1).so: $(filter-out $(INTERPRETER_WORKER) $(BUNDLE_WORKER),$(patsubst %.c,$(BUILD)/%.o,$(wildcard plugins/$(1)/*.c)))
	$$(SAY) LINK $$@
	$$(Q)$$(CC) $$(CFLAGS) $$(HARDENING_LD) $$(LDFLAGS) -shared -o $$@ $$^ $$(PLUGIN_LIBS)
endef
$(foreach name,$(PLUGINS),$(eval $(call plugin,$(name))))

# Some of them lack what they call, on purpose: no -z defs.
$(BUILD)/t/plugins/%.so: t/plugins/%.c t/plugins/bad.h Makefile
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(CC) $(PLUGIN_CFLAGS) $(filter-out -Wl$(comma)-z$(comma)defs,$(HARDENING_LD)) $(LDFLAGS) \
	  -shared -o $@ $< $(STUB)

# Its worker half is a program, with the engine's own functions for frames.
$(BUILD)/t/plugins/hostile.so: $(BUILD)/t/plugins/hostile.worker
$(BUILD)/t/plugins/hostile.worker: t/plugins/hostile.c $(STANDALONE) $(BUILD)/libkiln.a Makefile
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)$(CC) $(filter-out -MMD -MP,$(ENGINE_CFLAGS)) -DHOSTILE_WORKER $(PKG_CFLAGS) $(HARDENING_LD) $(LDFLAGS) -pie -o $@ \
	  $< $(STANDALONE) $(BUILD)/libkiln.a $(PKG_LIBS)

# A language of its own: what it is built on, it brings along.
$(BUILD)/t/plugins/luaguest.so: STUB = $(LUAJIT)

# A library to link with, that is gone when the plugin is loaded.
$(BUILD)/t/plugins/missing_library.so: $(BUILD)/t/stub/libkiln-test-stub.so
$(BUILD)/t/plugins/missing_library.so: STUB = $(BUILD)/t/stub/libkiln-test-stub.so
$(BUILD)/t/stub/libkiln-test-stub.so: Makefile
	@mkdir -p $(@D)
	$(SAY) LINK $@
	$(Q)echo 'int kiln_test_stub(void); int kiln_test_stub(void) { return 0; }' | \
	  $(CC) -shared -fPIC -Wl,-soname,libkiln-test-stub.so.1 -x c -o $@ -

$(BUILD)/t/unit/%: t/unit/%.c $(UNIT_HELPERS) $(BUILD)/libkiln.a Makefile
	@mkdir -p $(@D)
	$(SAY) CC $@
	$(Q)$(CC) $(ENGINE_CFLAGS) -Wno-unused-result -It/unit $(PKG_CFLAGS) $(HARDENING_LD) $(LDFLAGS) -pie -o $@ $< \
	  $(UNIT_HELPERS) $(BUILD)/libkiln.a $(CMOCKA) $(PKG_LIBS)

$(BUILD)/t/bench/%: t/bench/%.c $(BUILD)/libkiln.a Makefile
	@mkdir -p $(@D)
	$(SAY) CC $@
	$(Q)$(CC) $(ENGINE_CFLAGS) $(PKG_CFLAGS) $(HARDENING_LD) $(LDFLAGS) -pie -o $@ $< \
	  $(BUILD)/libkiln.a $(PKG_LIBS)

# ----------------------------------------------------------------------- goals
SUBMAKE = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(JOBS))

run: packages-run
	@$(SUBMAKE) all
	@.make/run $(BUILD)

test: packages-test
	@$(SUBMAKE) suite

# Everything that prove runs, in one call, so that its summary counts everything; one more
# at a time than there are cores, since tests wait as much as they compute.
SUITE = $(wildcard t/*.t) $(UNITS)
suite: all $(TEST_PLUGINS) $(UNITS)
	@test -n "$(strip $(SUITE))" || { echo 'make test: there are no tests in t/' >&2; exit 1; }
	@for test in $(SUITE); do test -x $$test || \
	  { echo "make test: $$test: not executable; chmod +x $$test" >&2; exit 1; }; done
	@KILN="$${KILN:-$(abspath $(BUILD))/kiln}" KILN_BUILD=$(abspath $(BUILD)) \
	  LUA_PATH='t/lib/?.lua;;' CMOCKA_MESSAGE_OUTPUT=TAP MAKEFLAGS= MAKELEVEL= \
	  prove -j$$(($(JOBS) + 1)) --exec '' $(PROVE_FLAGS) $(SUITE) </dev/null 2>&1 | tee $(BUILD)/test.log

# The suite again under ASan and UBSan, in a build folder of its own.
SANITIZERS = ASAN_OPTIONS=abort_on_error=1:handle_segv=0:detect_stack_use_after_return=1 \
  UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
sanitize: packages-test
	@$(SANITIZERS) KILN_SANITIZE=1 $(SUBMAKE) BUILD=$(BUILD)/sanitize SANITIZE=address,undefined \
	  CFLAGS='-O1 -g' suite

# In a machine of its own, under qemu's emulation: a kernel with cgroup v2 alone. Not a
# part of `make test`: it downloads Debian's kernel and takes a minute or more.
test-v2: packages-v2
	@$(SUBMAKE) all $(BUILD)/t/unit/cgroup_test
	@KILN_BUILD=$(BUILD) MAKEFLAGS= MAKELEVEL= prove --exec '' $(PROVE_FLAGS) t/v2/run

# Each defence taken out once, to see that a test notices. Not a part of `make test`: it
# takes some twenty minutes. DEFENCES='seccomp cgroup': those with such a name.
defences: packages-test
	@t/defences/run --build $(BUILD)/defences $(DEFENCES)

coverage: packages-test
	@.make/packages gcovr
	@$(SUBMAKE) BUILD=$(BUILD)/coverage COVERAGE=1 CFLAGS='-O0 -g' suite
	@gcovr -r . --object-directory $(BUILD)/coverage -f engine -f plugins --txt-summary

VERSION = $(shell sed -n 's/^\#define KILN_VERSION "\(.*\)"/\1/p' engine/cli/command.h)
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/kiln/plugins \
	  $(DESTDIR)$(PREFIX)/share/kiln/conf $(DESTDIR)$(PREFIX)/share/kiln/scripts \
	  $(DESTDIR)$(PREFIX)/include/kiln
	install -m 755 $(BUILD)/kiln $(DESTDIR)$(PREFIX)/bin/kiln
	install -m 755 $(PLUGINS:%=$(BUILD)/plugins/%.so) $(WORKERS) \
	  $(DESTDIR)$(PREFIX)/lib/kiln/plugins
	install -m 644 $(wildcard conf/*.ini) $(DESTDIR)$(PREFIX)/share/kiln/conf
	install -m 644 $(wildcard scripts/*.lua) $(DESTDIR)$(PREFIX)/share/kiln/scripts
	install -m 644 engine/include/kiln/plugin.h $(DESTDIR)$(PREFIX)/include/kiln
	install -d $(DESTDIR)$(PREFIX)/share/kiln/conf/plugin $(DESTDIR)$(PREFIX)/lib/pkgconfig
	install -m 644 conf/plugin/*.in $(DESTDIR)$(PREFIX)/share/kiln/conf/plugin
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' conf/plugin/kiln.pc.in \
	  >$(DESTDIR)$(PREFIX)/lib/pkgconfig/kiln.pc

clean:
	rm -rf $(BUILD)

# ----------------------------------------------------------------------- lint
# A stamp a file, so that only what changed is looked at again.
TIDY = $(C_SOURCES:%=$(BUILD)/lint/%.tidy)
lint: packages-lint
	@$(SUBMAKE) lint-format lint-cppcheck lint-scripts lint-defences $(TIDY)
	@echo 'lint: clean'

format:
	@clang-format -i $(C_SOURCES) $(HEADERS)

lint-format:
	@clang-format --dry-run -Werror $(C_SOURCES) $(HEADERS)

lint-cppcheck:
	@mkdir -p $(BUILD)/lint/cppcheck
	@cppcheck --quiet --enable=warning,performance,portability --inline-suppr --std=c11 \
	  --suppressions-list=.cppcheck --error-exitcode=1 -j$(JOBS) \
	  --cppcheck-build-dir=$(BUILD)/lint/cppcheck -D__GNUC__ -D__x86_64__ -D__linux__ '-DLUA_QL(x)=x' \
	  -DPy_RETURN_NONE='return 0' -DPy_RETURN_TRUE='return 0' -DPy_RETURN_FALSE='return 0' \
	  -Iengine -Iengine/include -Iplugins/interpreter engine plugins t

lint-scripts:
	@for f in $(wildcard scripts/*.lua t/lib/*.lua) $$(grep -l '^#!.*luajit' /dev/null $(wildcard t/*.t t/real/*.t)); \
	  do luajit -bl "$$f" >/dev/null || exit 1; done
	@for f in $(wildcard plugins/*/*.py t/*/*.py); do $(PYTHON) -c \
	  'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' "$$f" || exit 1; done

# What `make defences` takes out is still there to be taken.
lint-defences:
	@t/defences/run --check

$(BUILD)/lint/%.tidy: % $(HEADERS) .clang-tidy
	@mkdir -p $(@D)
	$(SAY) TIDY $<
	$(Q)clang-tidy --quiet $< -- -std=gnu17 -D_GNU_SOURCE $(WARNINGS) -Iengine -Iengine/include \
	  $(if $(filter engine/%,$<),,-It/unit -I$(dir $<) -Iplugins/interpreter) $(PKG_CFLAGS) $(PYTHON_CFLAGS) -Wno-string-concatenation 2>$@.log || { cat $@.log; exit 1; }
	@touch $@

# ---------------------------------------------------------------- fuzz, bench
# Built by clang, from the engine's own sources with every sanitizer.
fuzz: packages-fuzz
	@$(SUBMAKE) fuzz-run BUILD=$(BUILD)/fuzz CC=clang SANITIZE=fuzzer-no-link,address,undefined \
	  CFLAGS='-O1 -g'
fuzz-run: $(FUZZERS)
	@test -n "$(FUZZERS)" || { echo 'make fuzz: there are no fuzzers in t/fuzz/' >&2; exit 1; }
	@t/fuzz/run $(FUZZ_SECONDS) $(FUZZERS)
$(BUILD)/t/fuzz/%: t/fuzz/%.c $(BUILD)/libkiln.a Makefile
	@mkdir -p $(@D)
	$(SAY) CC $@
	$(Q)$(CC) $(filter-out -Wmissing-prototypes,$(ENGINE_CFLAGS)) $(PKG_CFLAGS) \
	  -fsanitize=fuzzer,address,undefined -o $@ $< $(FUZZ_OBJECTS) $(BUILD)/libkiln.a $(PKG_LIBS)
# All of the plugin but what it stands in for.
CONTAINER_FUZZ := $(filter-out %/http.o %/root.o %/meter.o %/sources.o,$(patsubst %.c,$(BUILD)/%.o,$(wildcard $(CONTAINER)/*.c)))
$(BUILD)/t/fuzz/container_fuzz: $(CONTAINER_FUZZ)
$(BUILD)/t/fuzz/container_fuzz: FUZZ_OBJECTS = $(CONTAINER_FUZZ)

bench: packages-bench
	@$(SUBMAKE) all $(BENCHES)
	@$(PYTHON) t/bench/bench.py --build $(BUILD) --json $(BUILD)/bench.json $(BENCH_FLAGS)

real: packages-real
	@$(SUBMAKE) all
	@$(PYTHON) t/real/compare.py --build $(BUILD) $(REAL_FLAGS)
	@$(PYTHON) t/real/cpython.py --kiln $(BUILD)/kiln $(CPYTHON_FLAGS)

# Their Python in container sessions: bootstrapped from apt's own mirror, a minute or two each.
RELEASES = bullseye trixie
releases: packages-test
	@$(SUBMAKE) all
	@for release in $(RELEASES); do RELEASE=$$release KILN="$${KILN:-$(abspath $(BUILD))/kiln}" \
	  KILN_BUILD=$(abspath $(BUILD)) LUA_PATH='t/lib/?.lua;;' MAKEFLAGS= MAKELEVEL= \
	  prove --exec '' $(PROVE_FLAGS) t/real/releases.t </dev/null || exit 1; done

scenarios: packages-scenarios
	@$(SUBMAKE) all
	@$(PYTHON) t/real/scenarios.py --build $(BUILD) $(SCENARIOS_FLAGS)

packages-%:
	@.make/packages $(PACKAGES_$(shell echo $* | tr a-z A-Z))

help:
	@echo 'make run       install what is missing, build, run the examples'
	@echo 'make test      install what is missing, build, run every test'
	@echo 'make           build build/kiln and its plugins'
	@echo 'make install   PREFIX=/usr/local DESTDIR='
	@echo 'make lint      clang-format, clang-tidy, cppcheck'
	@echo 'make format    clang-format, in place'
	@echo 'make sanitize  the tests under ASan and UBSan'
	@echo 'make defences  each defence taken out once: a test must notice'
	@echo 'make test-v2   kiln under cgroup v2, in a machine that qemu emulates'
	@echo 'make fuzz      each decoder for FUZZ_SECONDS=30'
	@echo 'make bench     the cost, beside floors, peers and targets'
	@echo 'make real      notebooks that others wrote, beside ipykernel; CPython tests, inside'
	@echo 'make releases  container sessions with the Python of other releases of Debian'
	@echo 'make scenarios a public collection of tasks under kiln eval, beside bare runs'
	@echo 'make coverage  line coverage of the tests'
	@echo 'make clean'

.PHONY: all run test test-v2 defences suite sanitize coverage install clean lint format lint-format lint-cppcheck lint-defences \
  lint-scripts fuzz fuzz-run bench real releases scenarios help
-include $(ENGINE_OBJECTS:.o=.d) $(PLUGIN_SOURCES:%.c=$(BUILD)/%.d) $(UNITS:=.d) \
  $(TEST_PLUGINS:.so=.d) $(BENCHES:=.d) $(FUZZERS:=.d)
