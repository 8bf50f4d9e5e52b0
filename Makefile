# SPDX-License-Identifier: ISC
# install         the program, and the file for the sshd that a machine has (see README)
# install-server  the program, and the server's files: setup.sh does the rest
VERSION = 1.0
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
DATADIR ?= $(PREFIX)/share
UNITDIR ?= /etc/systemd/system
CFLAGS ?= -O2 -g
CPPFLAGS ?= -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2

WARN = -std=c17 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wformat=2 -Werror=format-security
HARDEN = -fstack-protector-strong
LINK = -Wl,-z,relro -Wl,-z,now
COMPILE = $(CC) $(WARN) $(HARDEN) $(CPPFLAGS) $(CFLAGS)
DRIVERS = tests/talk tests/sandbox tests/failing.so
FILES = sshd_config.d/server
BUILT = echo-shell $(FILES)/mkshadow $(FILES)/raw-pty.so
LIB = $(DESTDIR)$(LIBDIR)/echo-shell
UNIT = $(DESTDIR)$(UNITDIR)/echo-shell.service
SHARE = $(DESTDIR)$(DATADIR)/echo-shell

# Write a file, whole or not at all, with the paths and the version of this installation.
PUT = put() { sed 's|/usr/local/bin|$(BINDIR)|g; s|/usr/local/lib|$(LIBDIR)|g; \
	s|^Description=echo-shell|& $(VERSION)|' "$$1" >"$$2.new" && mv -f "$$2.new" "$$2"; }; umask 022; put

all: $(BUILT)

echo-shell: echo-shell.c Makefile
	$(COMPILE) -fPIE -o $@ echo-shell.c -pie $(LINK) $(LDFLAGS)

$(FILES)/mkshadow: $(FILES)/mkshadow.c Makefile
	$(COMPILE) -fPIE -o $@ $(FILES)/mkshadow.c -pie $(LINK) $(LDFLAGS) -lcrypt

# A static program does not take a preload, and a preload is not static.
$(FILES)/raw-pty.so: $(FILES)/raw-pty.c Makefile
	$(COMPILE) -fPIC -o $@ $(FILES)/raw-pty.c -shared $(LINK) $(LDFLAGS:-static%=) -ldl

drivers: $(DRIVERS)

tests/talk: tests/talk.c Makefile
	$(COMPILE) -o $@ tests/talk.c

tests/sandbox: tests/sandbox.c echo-shell.c Makefile
	$(COMPILE) -o $@ tests/sandbox.c

tests/failing.so: tests/failing.c Makefile
	$(COMPILE) -fPIC -o $@ tests/failing.c -shared

# The tests of the program alone: without root, and nothing is installed.
check: all drivers
	tests/run tests/program.bats

test: all drivers
	tests/run

# As root: what a user sees of the server's speed, beside the distribution's sshd.
bench: all drivers
	tests/bench.sh

# Every analyser that is here must find nothing.
analyze: tests/talk
	tests/analyze.sh

lint:
	tests/analyze.sh lint

install: echo-shell
	umask 022 && mkdir -p $(DESTDIR)$(BINDIR) $(SHARE)
	install -m 755 echo-shell $(DESTDIR)$(BINDIR)
	$(PUT) sshd_config.d/echo-shell.conf $(SHARE)/echo-shell.conf

# A server that is here needs the program, too.
uninstall:
	rm -rf $(SHARE)
	[ -e $(LIB) ] || rm -f $(DESTDIR)$(BINDIR)/echo-shell

install-server: all
	umask 022 && mkdir -p $(DESTDIR)$(BINDIR) $(LIB) $(DESTDIR)$(UNITDIR) && chmod 755 $(LIB)
	install -m 755 echo-shell $(DESTDIR)$(BINDIR)
	install -m 755 $(FILES)/mkshadow $(FILES)/raw-pty.so $(FILES)/askpass $(LIB)
	$(PUT) $(FILES)/echo-shell.service $(UNIT) && \
	for file in banner environment sshd_config start; do put $(FILES)/$$file $(LIB)/$$file || exit; done

# The file for another sshd needs the program, too.
uninstall-server:
	rm -rf $(LIB) $(UNIT)
	[ -e $(SHARE) ] || rm -f $(DESTDIR)$(BINDIR)/echo-shell

clean:
	rm -f $(BUILT) $(DRIVERS)

.PHONY: all drivers check test bench analyze lint install uninstall install-server uninstall-server clean
