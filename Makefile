# mod_fail2ban for FreeSWITCH. `make` alone lists what there is.

# The first cargo of the PATH that is new enough, or Debian's (`make deps` installs it).
CARGO   ?= scripts/cargo
PREFIX  ?= /usr
DESTDIR ?=

# Where FreeSWITCH is: below FREESWITCH_PREFIX or PREFIX if given, else where pkg-config says, else Debian's places.
ifdef FREESWITCH_PREFIX
  export PKG_CONFIG_PATH := $(FREESWITCH_PREFIX)/lib/pkgconfig:$(PKG_CONFIG_PATH)
  # Of another FreeSWITCH on this machine nothing is asked.
  ASK := env PKG_CONFIG_PATH= PKG_CONFIG_LIBDIR='$(FREESWITCH_PREFIX)/lib/pkgconfig' pkg-config
  OTHER_MODULES := $(firstword $(wildcard $(FREESWITCH_PREFIX)/lib/freeswitch/mod $(FREESWITCH_PREFIX)/mod) $(FREESWITCH_PREFIX)/lib/freeswitch/mod)
  OTHER_CONF    := $(if $(filter /usr,$(FREESWITCH_PREFIX)),/etc/freeswitch,$(firstword $(wildcard $(FREESWITCH_PREFIX)/etc/freeswitch $(FREESWITCH_PREFIX)/conf) $(FREESWITCH_PREFIX)/etc/freeswitch))
else
  ASK := $(if $(filter file,$(origin PREFIX)),pkg-config,false)
  OTHER_MODULES := $(PREFIX)/lib/freeswitch/mod
  OTHER_CONF    := $(if $(filter /usr,$(PREFIX)),/etc/freeswitch,$(PREFIX)/etc/freeswitch)
endif
MODULES := $(or $(shell $(ASK) --variable=modulesdir freeswitch 2>/dev/null),$(OTHER_MODULES))
CONF    := $(or $(shell $(ASK) --variable=confdir freeswitch 2>/dev/null),$(OTHER_CONF))

MODULE  := target/release/libmod_fail2ban.so
NATIVE   = $(shell dpkg --print-architecture)
ARCH    ?= $(NATIVE)

.DEFAULT_GOAL := help
.PHONY: help deps man build demo test test-arm64 check bench install uninstall deb live fuzz valgrind

help: ## show this
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 19

deps: ## install what building needs (Rust where it is missing or too old, gcc, libclang)
	@scripts/deps.sh build

build: deps ## build the module: target/release/libmod_fail2ban.so
	$(CARGO) build --release --lib --locked

demo: deps ## show a guesser found and refused
	@$(CARGO) build --quiet --release --lib --locked
	@$(CARGO) build --quiet --example stand-in --locked
	@scripts/demo.sh

test: ## run the whole suite
	@scripts/deps.sh test
	$(CARGO) test --locked

test-arm64: ## cross-build for arm64 and run the suite under qemu
	@scripts/deps.sh test-arm64
	scripts/test-arm64.sh

check: ## formatting, clippy and documentation, warnings being errors
	@scripts/deps.sh check
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps --locked --document-private-items

man: ## make the manual page from its source, after a change there (needs go-md2man)
	@command -v go-md2man >/dev/null || { echo 'go-md2man is not installed: apt-get install go-md2man' >&2; exit 1; }
	go-md2man -in docs/mod_fail2ban.8.md -out docs/mod_fail2ban.8
	@# Older versions of it ask for a font C, which groff lacks; newer ones for bold alone.
	sed -i 's/\\fC//g' docs/mod_fail2ban.8

bench: deps ## measure the handler beside a stand-in for the C module
	$(CARGO) build --release --lib --locked
	$(CARGO) bench --locked --bench handler

install: ## install the module and, if there is none, its settings file
	@# Under sudo there may be no Rust: then what `make build` has made is taken.
	@if $(CARGO) --version >/dev/null 2>&1 || [ ! -e $(MODULE) ]; then $(MAKE) --no-print-directory build; fi
	install -d '$(DESTDIR)$(MODULES)' '$(DESTDIR)$(CONF)/autoload_configs'
	# Put in place by renaming: overwriting the file under a switch that has it mapped would crash it.
	install -m 755 $(MODULE) '$(DESTDIR)$(MODULES)/.mod_fail2ban.so.new'
	mv -f '$(DESTDIR)$(MODULES)/.mod_fail2ban.so.new' '$(DESTDIR)$(MODULES)/mod_fail2ban.so'
	@if [ -e '$(DESTDIR)$(CONF)/autoload_configs/fail2ban.conf.xml' ]; then \
	   echo 'kept the settings in $(DESTDIR)$(CONF)/autoload_configs/fail2ban.conf.xml'; \
	 else \
	   install -m 644 conf/autoload_configs/fail2ban.conf.xml '$(DESTDIR)$(CONF)/autoload_configs/'; \
	   echo 'installed $(DESTDIR)$(CONF)/autoload_configs/fail2ban.conf.xml'; \
	 fi
	@echo 'installed $(DESTDIR)$(MODULES)/mod_fail2ban.so; now: fs_cli -x "load mod_fail2ban"'

uninstall: ## remove the module; the settings file stays
	rm -f '$(DESTDIR)$(MODULES)/mod_fail2ban.so'

deb: ## make the Debian package freeswitch-mod-fail2ban-rs in target/packages (ARCH=arm64: for that)
	@scripts/deps.sh deb$(if $(filter-out $(NATIVE),$(ARCH)),-$(ARCH))
	scripts/deb.sh $(ARCH)

live: deps ## run the suite against an installed FreeSWITCH (FREESWITCH_PREFIX=...)
	@scripts/deps.sh live
	$(CARGO) build --release --lib --locked
	scripts/live.sh '$(FREESWITCH_PREFIX)'

fuzz: deps ## fuzz whatever an attacker can shape (needs cargo-fuzz and nightly; SECONDS=60 for each target, SANITIZER=none)
	cd fuzz && for target in $$(cargo +nightly fuzz list); do \
	   cargo +nightly fuzz run --sanitizer $(or $(SANITIZER),none) $$target -- -max_len=1024 -max_total_time=$(or $(SECONDS),60) || exit 1; \
	 done

valgrind: deps ## run the boundary's tests with the stand-in under valgrind
	@command -v valgrind >/dev/null || { echo 'valgrind is not installed: apt-get install valgrind' >&2; exit 1; }
	rm -rf target/valgrind
	$(CARGO) build --examples --locked
	# One test has nine thousand lookups, which take minutes there.
	for suite in drop_in configuration signals refusal; do \
	   STAND_IN=$(CURDIR)/scripts/valgrind.sh $(CARGO) test --locked --test suite $$suite:: -- --skip more_refusals \
	      || exit 1; \
	 done
	@cat target/valgrind/*; test -z "$$(cat target/valgrind/*)" && echo 'valgrind found nothing'
