#!/usr/bin/python3
"""Checks the shipped filter with a real fail2ban.

samples                 every line of samples/*.log gives what the failJSON above it says, and every
                        regular expression of the filter has a sample
batch LINES EXPECTED    every line of the log LINES gives what the line of EXPECTED beside it says:
                        null, or {"ip": …, "time": epoch seconds, "mode": "aggressive"}
hostile                 no line, however long and odd, keeps the filter busy

Everything is checked in both modes. "mode" names the mildest one that counts a line: without it,
both do. "time" in a failJSON is UTC.
"""

import argparse
import ipaddress
import itertools
import json
import math
import re
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).resolve().parent
KIT = HERE.parent.parent.parent / "conf" / "fail2ban"
NAME = "freeswitch-fail2ban"
MODES = ("normal", "aggressive")
MISMATCHES_SHOWN = 10
HOSTILE_SECONDS = 0.1


def load_filter(mode):
    """The filter as a jail would set it up."""
    from fail2ban.client.filterreader import FilterReader
    from fail2ban.server.filter import Filter

    reader = FilterReader(NAME, NAME, {"mode": mode}, basedir=str(KIT))
    if not reader.read():
        sys.exit(f"cannot read {NAME} in {KIT}")
    reader.getOptions({})

    found = Filter(None)
    found.active = True
    found.setUseDns("no")
    # Old lines count too, and a line that matches twice shows.
    found.checkFindTime = False
    found.checkAllRegex = True
    setters = {
        "prefregex": lambda value: setattr(found, "prefRegex", value),
        "addfailregex": found.addFailRegex,
        "addignoreregex": found.addIgnoreRegex,
        "datepattern": found.setDatePattern,
    }
    for command, _jail, option, value in reader.convert():
        for one in value if command == "multi-set" else [value]:
            setters[option](one)
    return found


def lines_as_fail2ban_reads_them(path):
    from fail2ban.server.filter import FileContainer

    return FileContainer(str(path), "utf-8", doOpen=True)


def address(text):
    """The one spelling of an address; IPv4 out of its IPv6 wrapping, as fail2ban bans it."""
    ip = ipaddress.ip_address(text)
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def find(jail_filter, line):
    """What fail2ban makes of a line: (its regular expressions, [{"ip", "time"}])."""
    found = jail_filter.processLine(line)
    return (
        [failure[0] for failure in found],
        [{"ip": address(str(failure[1])), "time": failure[2]} for failure in found],
    )


def expected(wish, mode):
    """What fail2ban should make of a line in a mode. It counts in whole seconds."""
    if wish is None or MODES.index(wish.get("mode", "normal")) > MODES.index(mode):
        return []
    return [{"ip": address(wish["ip"]), "time": math.floor(wish["time"])}]


def read_samples(path):
    """The (wish, line) pairs of a sample file."""
    wish = None
    for line in lines_as_fail2ban_reads_them(path):
        said = re.match(r"# failJSON: (.+)$", line)
        if said:
            wish = json.loads(said[1])
        elif wish is not None:
            yield wish, line
            wish = None
        elif line and not line.startswith("#"):
            sys.exit(f"{path}: no failJSON above: {line}")


def wish_of(fail_json):
    if not fail_json["match"]:
        return None
    when = datetime.fromisoformat(fail_json["time"]).replace(tzinfo=timezone.utc)
    return {**fail_json, "ip": fail_json["host"], "time": when.timestamp()}


def check_samples():
    mismatches = []
    samples = [
        (path.name, wish_of(fail_json), line)
        for path in sorted((HERE / "samples").glob("*.log"))
        for fail_json, line in read_samples(path)
    ]
    for mode in MODES:
        jail_filter = load_filter(mode)
        without_sample = set(range(len(jail_filter.getFailRegex())))
        for name, wish, line in samples:
            regexes, found = find(jail_filter, line)
            without_sample.difference_update(regexes)
            if found != expected(wish, mode):
                mismatches.append(f"{name}, {mode}: {expected(wish, mode)} expected, {found} found: {line}")
        for index in without_sample:
            mismatches.append(f"{mode}: no sample for {jail_filter.getFailRegex()[index]}")
    return len(samples), mismatches


def check_batch(lines_path, expected_path):
    mismatches = []
    count = 0
    filters = [(mode, load_filter(mode)) for mode in MODES]
    with open(expected_path, encoding="utf-8") as wishes:
        pairs = itertools.zip_longest(lines_as_fail2ban_reads_them(lines_path), wishes)
        for count, (line, wish) in enumerate(pairs, 1):
            if line is None or wish is None:
                mismatches.append(f"line {count}: more {'events' if line is None else 'lines'} than the other")
                break
            wish = json.loads(wish)
            for mode, jail_filter in filters:
                _, found = find(jail_filter, line)
                if found != expected(wish, mode):
                    mismatches.append(
                        f"line {count}, {mode}: {expected(wish, mode)} expected, {found} found: {line!r}"
                    )
            if len(mismatches) >= MISMATCHES_SHOWN:
                break
    return count, mismatches


def hostile_lines():
    """Long lines, each close to what a regular expression looks for, and most of them without
    the end that would let it succeed."""
    fillers = ["a", " ", "]", "[", "%5D", '"', "=", " user[", "] ip[", "] at[", " ip=192.0.2.1", ":", "1", "1.",
               "2026-11-22T00:51:58.493952+0000", ' a="', ' a="b"', " a=b", "\\", "\u00fc", "\u2028", "\r"]
    heads = ["", "A", "A registration failed user[", "A registration failed user[] ip[",
             "A registration failed user[x] ip[192.0.2.1] at[", "Abandoned call from  user[",
             "2026-11-22T00:51:58.493952+0000 mod_fail2ban: ",
             "2026-11-22T00:51:58.493952+0000 mod_fail2ban: register_failure ip=",
             "2026-11-22T00:51:58.493952+0000 mod_fail2ban: register_failure ip=192.0.2.1 user=\""]
    tails = ["", "x", '"', "] ip[192.0.2.1] at[2026-11-22T00:51:58.493952+0000]",
             "] ip[192.0.2.1] at[2026-11-22T00:51:58.493952+0000] "]
    for head, filler, tail in itertools.product(heads, fillers, tails):
        yield head + filler * (10_000 // len(filler)) + tail


def check_hostile():
    mismatches = []
    count = 0
    slowest = 0
    filters = [(mode, load_filter(mode)) for mode in MODES]
    for count, line in enumerate(hostile_lines(), 1):
        for mode, jail_filter in filters:
            began = time.thread_time()
            jail_filter.processLine(line)
            took = time.thread_time() - began
            slowest = max(slowest, took)
            if took > HOSTILE_SECONDS:
                mismatches.append(f"{mode}: {took:.3f} s for {line[:80]!r}...{line[-40:]!r}")
    print(f"slowest of the hostile lines: {slowest * 1000:.1f} ms")
    return count, mismatches


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fail2ban", metavar="DIR", help="a fail2ban unpacked there, instead of the installed one")
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("samples")
    batch = what.add_parser("batch")
    batch.add_argument("lines")
    batch.add_argument("expected")
    what.add_parser("hostile")
    args = parser.parse_args()

    if args.fail2ban:
        sys.path.insert(0, str(Path(args.fail2ban) / "usr/lib/python3/dist-packages"))
    from fail2ban.version import version

    began = time.monotonic()
    if args.what == "samples":
        count, mismatches = check_samples()
    elif args.what == "batch":
        count, mismatches = check_batch(args.lines, args.expected)
    else:
        count, mismatches = check_hostile()
    for mismatch in mismatches[:MISMATCHES_SHOWN]:
        print(mismatch, file=sys.stderr)
    verdict = "FAILED" if mismatches else "ok"
    print(f"fail2ban {version}: {count} lines in {time.monotonic() - began:.1f} s: {verdict}")
    sys.exit(1 if mismatches or not count else 0)


if __name__ == "__main__":
    main()
