# Kiln. `make run` and `make test` are all a new machine needs.

BUILD ?= build
CC ?= gcc
PYTHON_CONFIG ?= /usr/bin/python3-config
PKGS = luajit libuv jansson libsodium libseccomp libffi

WARNINGS = -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Werror
CFLAGS ?= -O2 -g
CPPFLAGS += -D_GNU_SOURCE -Iengine -Iengine/include
KILN_CFLAGS = -std=gnu17 -fvisibility=hidden -fPIE -MMD -MP $(WARNINGS) $(shell pkg-config --cflags $(PKGS))
LDLIBS = $(shell pkg-config --libs $(PKGS)) -linih -ldl

ENGINE_SOURCES := $(wildcard engine/*/*.c)
ENGINE_OBJECTS := $(ENGINE_SOURCES:%.c=$(BUILD)/%.o)
PLUGINS := $(notdir $(wildcard plugins/*))

all: $(BUILD)/kiln $(PLUGINS:%=$(BUILD)/plugins/%.so)

$(BUILD)/kiln: $(ENGINE_OBJECTS)
	$(CC) $(CFLAGS) $(LDFLAGS) -rdynamic -pie -o $@ $^ $(LDLIBS)

$(BUILD)/engine/%.o: engine/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(KILN_CFLAGS) -c -o $@ $<

# A plugin sees the public header and its own folder, nothing else of ours.
$(BUILD)/plugins/interpreter.so: PLUGIN_CFLAGS = $(shell $(PYTHON_CONFIG) --includes)
$(BUILD)/plugins/interpreter.so: PLUGIN_LIBS = $(shell $(PYTHON_CONFIG) --embed --ldflags)
.SECONDEXPANSION:
$(BUILD)/plugins/%.so: $$(wildcard plugins/%/*.c plugins/%/*.h plugins/%/*.py) engine/include/kiln/plugin.h Makefile
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE -Iengine/include -Iplugins/$* $(CFLAGS) -std=gnu17 -fvisibility=hidden -fPIC -shared \
	  $(WARNINGS) $(PLUGIN_CFLAGS) $(LDFLAGS) -Wl,-z,defs -o $@ $(filter %.c,$^) $(PLUGIN_LIBS)

clean:
	rm -rf $(BUILD)

.PHONY: all clean
-include $(ENGINE_OBJECTS:.o=.d)
