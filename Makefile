# SPDX-License-Identifier: ISC
# "make install" is for packagers: the program alone. setup.sh does the rest.
PREFIX ?= /usr/local
CFLAGS ?= -O2 -g

WARN = -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wformat=2 -Werror=format-security
# OpenSSF's guide for C; each is used where this compiler and CFLAGS take it.
HARDEN = -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -fstack-protector-strong \
	-fstack-clash-protection -fcf-protection=full -mbranch-protection=standard \
	-fstrict-flex-arrays=3 -ftrivial-auto-var-init=zero -fPIE -pie \
	-Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack

all: echo-shell

echo-shell: echo-shell.c Makefile
	@flags=; for flag in $(HARDEN); do \
		printf '#include <unistd.h>\nint main(void) { return 0; }\n' | \
		$(CC) -Werror $$flags $$flag $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -x c -o $@.$$$$ - 2>/dev/null && \
		flags="$$flags $$flag"; \
	done; set -x; \
	$(CC) -std=c17 $(WARN) $$flags $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@.$$$$ echo-shell.c && mv -f $@.$$$$ $@

DRIVERS = tests/talk tests/sandbox tests/channels tests/dynamic tests/failing

drivers: $(DRIVERS)

tests/talk tests/sandbox tests/channels: tests/talk.c tests/sandbox.c tests/channels.c tests/decode.h echo-shell.c
	$(CC) -std=c17 $(WARN) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@.$$$$ $@.c && mv -f $@.$$$$ $@

# Without what HARDEN and LDFLAGS may do: something to preload tests/failing into.
tests/dynamic: echo-shell.c
	$(CC) -std=c17 $(WARN) $(CPPFLAGS) -O2 -o $@.$$$$ echo-shell.c && mv -f $@.$$$$ $@

tests/failing: tests/failing.c
	$(CC) -std=c17 $(WARN) $(CPPFLAGS) -O2 -shared -fPIC -o $@.$$$$ $@.c -ldl && mv -f $@.$$$$ $@

test:
	./setup.sh test

# How many inputs make fuzz tries; the tests take fewer.
FUZZ = 20000000
SANITIZE = -std=c17 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -DNO_SANDBOX

# With clang's libFuzzer; where there is none, with random inputs only.
fuzz:
	@if clang $(SANITIZE) -fsanitize=fuzzer -DLIBFUZZER -o $@.$$$$ tests/fuzz.c 2>/dev/null; then \
		set -- -seed=2022 -runs=$(FUZZ) -max_len=300 -artifact_prefix=tests/ -verbosity=0 -print_final_stats=1; \
	else \
		$(CC) $(SANITIZE) -o $@.$$$$ tests/fuzz.c && set -- $(FUZZ) || exit; \
	fi; \
	./$@.$$$$ "$$@"; status=$$?; rm -f $@.$$$$; exit $$status

# Every analyser that is here must find nothing.
analyze: tests/talk
	@run() { command -v $$1 >/dev/null || { echo "$$1 is not here"; return 0; }; echo "$$*" >&2; "$$@"; }; \
	talk() { for mode in table pairs sizes random; do \
		tests/talk -s $$mode -- "$$@" <tests/python2-repr.tsv || return; done; }; \
	set -e; \
	for file in *.c tests/*.c; do run gcc -std=c17 -O2 -fanalyzer -Werror -c -o /dev/null $$file; done; \
	run clang-tidy --quiet --warnings-as-errors='*' -checks='clang-analyzer-*,bugprone-*,-bugprone-reserved-identifier,-bugprone-narrowing-conversions,-bugprone-implicit-widening*,-bugprone-easily-swappable*' echo-shell.c -- -std=c17; \
	run cppcheck -q --error-exitcode=1 --enable=warning,portability,performance --std=c11 echo-shell.c tests/*.c; \
	for cc in gcc clang; do \
		if $$cc $(SANITIZE) -o $@.$$$$ echo-shell.c 2>/dev/null; then \
			echo "$$cc $(SANITIZE)"; talk ./$@.$$$$; \
		else echo "$$cc's sanitizers are not here"; fi; \
	done; \
	$(CC) -std=c17 -g -DNO_SANDBOX -o $@.$$$$ echo-shell.c; \
	run valgrind -q --error-exitcode=9 ./$@.$$$$ <tests/python2-repr.tsv >/dev/null; \
	rm -f $@.$$$$

lint:
	shellcheck -x setup.sh .ci/run tests/*.bash tests/*.bats
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
	rm -f echo-shell $(DRIVERS) fuzz.[0-9]* analyze.[0-9]*

.PHONY: all drivers test fuzz analyze lint install uninstall clean
