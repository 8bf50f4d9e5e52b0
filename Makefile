# SPDX-License-Identifier: ISC
# "make install" is for packagers: the program alone. setup.sh does the rest.
PREFIX ?= /usr/local
# -O3: before gcc 12, -O2 makes no vector instructions; repr has a use for them.
CFLAGS ?= -O3 -g

WARN = -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wformat=2 -Werror=format-security
# OpenSSF's guide for C; each is used where this compiler and CFLAGS take it.
HARDEN = -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong \
	-fstack-clash-protection -fcf-protection=full -mbranch-protection=standard \
	-fstrict-flex-arrays=3 -ftrivial-auto-var-init=zero \
	-Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack
# The first that works; another CC than the default is taken as it is. Static: it
# starts sooner, and nothing of it is preloaded. musl: a session's program has 40 KiB
# to itself, with glibc 100 (make bench); it comes without the kernel's headers, and
# makes nothing that is both static and position-independent.
MUSL = musl-gcc -static -idirafter /usr/include \
	-idirafter /usr/include/$$($(CC) -print-multiarch 2>/dev/null)

all: echo-shell

echo-shell: echo-shell.c Makefile
	@trap 'rm -f $@.$$$$' EXIT; \
	builds() { \
		printf '#ifdef __linux__\n#include <linux/seccomp.h>\n#endif\nint main(void) { return 0; }\n' | \
		"$$@" $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -x c -o $@.$$$$ - 2>/dev/null; \
	}; \
	case '$(CC)' in cc|c99) musl="$(MUSL)" ;; *) musl=false ;; esac; \
	for cc in "$$musl" "$(CC) -static" "$(CC) -fPIE -pie" "$(CC)"; do \
		builds $$cc && break; \
	done; \
	for flag in $(HARDEN); do \
		builds $$cc -Werror $$flag && cc="$$cc $$flag"; \
	done; \
	(set -x; $$cc -std=c17 $(WARN) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@.$$$$ echo-shell.c) && \
		mv -f $@.$$$$ $@

DRIVERS = tests/talk tests/sandbox tests/channels tests/bench tests/dynamic tests/failing

drivers: $(DRIVERS)

tests/talk tests/sandbox tests/channels tests/bench: tests/talk.c tests/sandbox.c tests/channels.c tests/bench.c tests/decode.h echo-shell.c
	$(CC) -std=c17 $(WARN) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@.$$$$ $@.c && mv -f $@.$$$$ $@

# Without what HARDEN and LDFLAGS may do: something to preload tests/failing into.
tests/dynamic: echo-shell.c
	$(CC) -std=c17 $(WARN) $(CPPFLAGS) -O2 -o $@.$$$$ echo-shell.c && mv -f $@.$$$$ $@

tests/failing: tests/failing.c
	$(CC) -std=c17 $(WARN) $(CPPFLAGS) -O2 -shared -fPIC -o $@.$$$$ $@.c -ldl && mv -f $@.$$$$ $@

test:
	./setup.sh test

# As root. ROWS="text setup" for some of its rows only, RUNS=3 for fewer runs of each.
bench: all drivers
	tests/bench.sh

# As root: how many sessions it holds, and what they cost. SESSIONS=4000 for more.
soak: all drivers
	tests/soak.sh

# FUZZ=n for another number of inputs than 20 million.
fuzz:
	tests/analyze.sh fuzz

# Every analyser that is here must find nothing.
analyze: tests/talk
	tests/analyze.sh

lint:
	shellcheck -x setup.sh .ci/run tests/*.sh tests/*.bash tests/*.bats
	for cc in $(CC) gcc clang; do ! command -v $$cc >/dev/null || \
		for file in *.c tests/*.c; do \
			$$cc -std=c17 $(WARN) -Werror -fsyntax-only $$file || exit; \
		done || exit; \
	done

install: echo-shell
	mkdir -p $(DESTDIR)$(PREFIX)/bin
	cp echo-shell $(DESTDIR)$(PREFIX)/bin/echo-shell
	chmod 755 $(DESTDIR)$(PREFIX)/bin/echo-shell

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/echo-shell

clean:
	rm -f echo-shell $(DRIVERS) tests/crash-*

.PHONY: all drivers test bench soak fuzz analyze lint install uninstall clean
