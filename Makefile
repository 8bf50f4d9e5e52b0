# SPDX-License-Identifier: ISC
# "make install" is for packagers: the program alone. setup.sh does the rest.
PREFIX ?= /usr/local
CFLAGS ?= -O2 -g

WARN = -std=c17 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wformat=2 -Werror=format-security
# What gcc 10 and clang 11 on every processor take without a word.
HARDEN = -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong
LINK = -Wl,-z,relro -Wl,-z,now
DRIVERS = tests/talk tests/sandbox tests/failing.so
RAW_PTY = sshd_config.d/port-2022/raw-pty.so

all: echo-shell $(RAW_PTY)

echo-shell: echo-shell.c Makefile
	$(CC) $(WARN) $(HARDEN) $(CPPFLAGS) $(CFLAGS) -fPIE -o $@ echo-shell.c -pie $(LINK) $(LDFLAGS)

drivers: $(DRIVERS)

$(DRIVERS): echo-shell.c Makefile
$(RAW_PTY): Makefile

.SUFFIXES: .c .so
.c:
	$(CC) $(WARN) $(CPPFLAGS) $(CFLAGS) -o $@ $< $(LDFLAGS)

.c.so:
	$(CC) $(WARN) $(HARDEN) $(CPPFLAGS) $(CFLAGS) -fPIC -o $@ $< -shared $(LINK) $(LDFLAGS) -ldl

test:
	./setup.sh test

# As root: what a user sees of its speed, beside the distribution's sshd.
bench: all drivers
	tests/bench.sh

# Every analyser that is here must find nothing.
analyze: tests/talk
	tests/analyze.sh

lint:
	tests/analyze.sh lint

install: echo-shell
	mkdir -p $(DESTDIR)$(PREFIX)/bin
	install -m 755 echo-shell $(DESTDIR)$(PREFIX)/bin/echo-shell

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/echo-shell

clean:
	rm -f echo-shell $(RAW_PTY) $(DRIVERS)

.PHONY: all drivers test bench analyze lint install uninstall clean
