# The C library on its own: build/libcipc.a and build/libcipc.so.VERSION.

VERSION := $(shell cat VERSION)
# While the major version is 0, a new minor version may change the ABI.
version_parts := $(subst ., ,$(VERSION))
SOVERSION := $(if $(filter 0,$(word 1,$(version_parts))),0.$(word 2,$(version_parts)),$(word 1,$(version_parts)))

# The start-up hook is for Swift programs, which get it from the package: a C program that starts
# children of itself calls cipc_process_bootstrap().
C_SOURCES := $(filter-out %/main_hook.c,$(wildcard Sources/CIPC/*/*.c))
C_HEADERS := $(wildcard Sources/CIPC/*/*.h Sources/CIPC/include/cipc/*.h)

CFLAGS ?= -O2 -g
C_WARNINGS := -Wall -Wextra -Wpedantic -Wconversion
# What every compilation of the core has; CFLAGS is the user's.
C_FLAGS := -std=c11 -D_GNU_SOURCE -ISources/CIPC/include -ISources/CIPC $(C_WARNINGS)
C_HIDDEN := -fvisibility=hidden

LIB_STATIC := $(BUILD)/libcipc.a
LIB_SHARED := $(BUILD)/libcipc.so.$(VERSION)
# What tests load, whatever the version is.
LIB_LINK := $(BUILD)/libcipc.so
LIB_OBJECTS := $(C_SOURCES:Sources/CIPC/%.c=$(BUILD)/lib/%.o)
LIB_PIC_OBJECTS := $(C_SOURCES:Sources/CIPC/%.c=$(BUILD)/lib/%.pic.o)

.PHONY: lib
lib: $(LIB_STATIC) $(LIB_SHARED) $(LIB_LINK) ## the C library, static and shared, in build/

$(BUILD)/lib/%.o: Sources/CIPC/%.c $(C_HEADERS) | require-cc
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_FLAGS) $(C_HIDDEN) $(CPPFLAGS) $(CFLAGS) -c $< -o $@

$(BUILD)/lib/%.pic.o: Sources/CIPC/%.c $(C_HEADERS) | require-cc
	@mkdir -p $(@D)
	$(Q)$(CC) $(C_FLAGS) $(C_HIDDEN) -fPIC $(CPPFLAGS) $(CFLAGS) -c $< -o $@

$(LIB_STATIC): $(LIB_OBJECTS)
	$(Q)rm -f $@
	$(Q)$(AR) rcs $@ $^

$(LIB_SHARED): $(LIB_PIC_OBJECTS) Packaging/cipc.map
	$(Q)$(CC) -shared -Wl,-soname,libcipc.so.$(SOVERSION) -Wl,--version-script=Packaging/cipc.map \
	  -Wl,-z,defs -Wl,-z,now $(LDFLAGS) $(LIB_PIC_OBJECTS) -pthread -o $@

$(LIB_LINK): $(LIB_SHARED)
	$(Q)ln -sf $(<F) $@
