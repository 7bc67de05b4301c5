# `make install PREFIX=/usr/local DESTDIR=` and its exact undoing.

PREFIX ?= /usr/local
DESTDIR ?=
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
PKGCONFIGDIR ?= $(LIBDIR)/pkgconfig

PUBLIC_HEADERS := $(wildcard Sources/CIPC/include/cipc/*.h)
INSTALLED := \
  $(INCLUDEDIR)/cipc.h $(PUBLIC_HEADERS:Sources/CIPC/include/%=$(INCLUDEDIR)/%) \
  $(LIBDIR)/libcipc.a $(LIBDIR)/libcipc.so.$(VERSION) $(LIBDIR)/libcipc.so.$(SOVERSION) \
  $(LIBDIR)/libcipc.so $(PKGCONFIGDIR)/cipc.pc

.PHONY: install
install: lib ## the C library into DESTDIR/PREFIX: headers, both libraries, cipc.pc
	install -d $(DESTDIR)$(INCLUDEDIR)/cipc $(DESTDIR)$(LIBDIR) $(DESTDIR)$(PKGCONFIGDIR)
	install -m 644 Sources/CIPC/include/cipc.h $(DESTDIR)$(INCLUDEDIR)/
	install -m 644 $(PUBLIC_HEADERS) $(DESTDIR)$(INCLUDEDIR)/cipc/
	install -m 644 $(LIB_STATIC) $(DESTDIR)$(LIBDIR)/
	install -m 755 $(LIB_SHARED) $(DESTDIR)$(LIBDIR)/
	ln -sf libcipc.so.$(VERSION) $(DESTDIR)$(LIBDIR)/libcipc.so.$(SOVERSION)
	ln -sf libcipc.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libcipc.so
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' \
	  -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' -e 's|@VERSION@|$(VERSION)|' \
	  Packaging/cipc.pc.in > $(DESTDIR)$(PKGCONFIGDIR)/cipc.pc

# Directories stay unless they are empty and cipc's own: others may use the rest.
.PHONY: uninstall
uninstall: ## take away what install put there
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	@if [ -d $(DESTDIR)$(INCLUDEDIR)/cipc ]; then \
	  rmdir --ignore-fail-on-non-empty $(DESTDIR)$(INCLUDEDIR)/cipc; fi
