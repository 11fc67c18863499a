#!/usr/bin/python3
"""Checks the shipped filter with a real fail2ban, in all of its modes.

samples                 every line of samples/*.log gives what the failJSON above it says, every line
                        of samples/modes.json counts in just the modes that it says, every regular
                        expression of the filter has a sample, and so has every event type in it
batch LINES EXPECTED    every line of the log LINES gives what the line of EXPECTED beside it says:
                        null, or {"ip": …, "time": epoch seconds, "modes": ["normal", …]}
hostile                 no line, however long and odd, keeps the filter busy
runs                    this Python can run this fail2ban

"modes" names every mode that counts a line. Without it these are normal and aggressive, which is
what an ordinary failure gives; "mode": "aggressive" is short for "modes": ["aggressive"]. "time" in
a failJSON is UTC.
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
MODES = ("normal", "aggressive", "proven", "known", "reported")
ORDINARY = ("normal", "aggressive")
MISMATCHES_SHOWN = 10
HOSTILE_SECONDS = 0.03


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
    if wish is None:
        return []
    modes = wish.get("modes", [wish["mode"]] if wish.get("mode") == "aggressive" else ORDINARY)
    unknown = set(modes).difference(MODES)
    if unknown or wish.get("mode", "normal") not in ORDINARY:
        sys.exit(f"no such mode: {wish}; there are {', '.join(MODES)}")
    return [{"ip": address(wish["ip"]), "time": math.floor(wish["time"])}] if mode in modes else []


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


def read_modes():
    """The (wish, line) pairs of samples/modes.json, whose lines all have the same address and time."""
    table = json.loads((HERE / "samples" / "modes.json").read_text("utf-8"))
    for entry in table["lines"]:
        yield {"ip": table["ip"], "time": table["time"], "modes": entry["counts"]}, entry["line"]


def event_types():
    """The names and classic texts of events that the filter has in its lists, as written there."""
    lists = re.findall(r"^_(?:failure|other)(?:_text)? *= (.+)$", (KIT / "filter.d" / f"{NAME}.conf").read_text(), re.M)
    if len(lists) != 4:
        sys.exit(f"{NAME}.conf: 4 lists of events expected, {len(lists)} found")
    return {one for each in lists for one in each.split("|")}


def check_samples():
    mismatches = []
    samples = [
        (path.name, wish_of(fail_json), line)
        for path in sorted((HERE / "samples").glob("*.log"))
        for fail_json, line in read_samples(path)
    ]
    samples += [("modes.json", wish, line) for wish, line in read_modes()]
    counted_events = set()
    for mode in MODES:
        jail_filter = load_filter(mode)
        without_sample = set(range(len(jail_filter.getFailRegex())))
        for name, wish, line in samples:
            regexes, found = find(jail_filter, line)
            without_sample.difference_update(regexes)
            if found:
                counted_events.update(re.findall(r"mod_fail2ban: ([a-z_]+)|^(.+?) user\[", line)[0])
            if found != expected(wish, mode):
                mismatches.append(f"{name}, {mode}: {expected(wish, mode)} expected, {found} found: {line}")
        for index in without_sample:
            mismatches.append(f"{mode}: no sample for {jail_filter.getFailRegex()[index]}")
    for event in sorted(event_types() - counted_events):
        mismatches.append(f"no sample that counts for {event!r}")
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
    date = "2026-11-22T00:51:58.493952+0000"
    dated = f"{date} mod_fail2ban: "
    fillers = ["a", " ", "]", "[", "%5D", '"', "=", " user[", "] ip[", "] at[", " ip=192.0.2.1", ":", "1", "1.",
               date, ' a="', ' a="b"', " a=b", " known=no", " transport=tcp", " transport=udp", ' a=" transport=tcp"',
               "a_", " caused register_failure", "\\", "\u00fc", "\u2028", "\r"]
    heads = ["", "A", "A registration failed user[", "A registration failed user[] ip[",
             "A registration failed user[x] ip[192.0.2.1] at[", "Abandoned call from  user[",
             "A known address caused ", "A known address caused register_failure user[",
             dated, f"{dated}register_failure ip=", f'{dated}register_failure ip=192.0.2.1 user="',
             f"{dated}register_failure ip=192.0.2.1 known=no", f"{dated}reported ip=192.0.2.1 known=yes",
             f"{dated}register_failure ip=192.0.2.1 port=5060 transport=tcp"]
    tails = ["", "x", '"', " transport=tcp", " transport=tcp x", f"] ip[192.0.2.1] at[{date}]",
             f"] ip[192.0.2.1] at[{date}] "]
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


def check_runs(version):
    """The exit tells why not, in one line: fail2ban 1.0.2 needs asynchat, which left Python in 3.12."""
    try:
        from fail2ban.client import fail2banclient  # noqa: F401
        from fail2ban.server import server  # noqa: F401
    except ImportError as error:
        sys.exit(f"fail2ban {version} does not run under Python {sys.version.split()[0]}: {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fail2ban", metavar="DIR", help="a fail2ban unpacked there, instead of the installed one")
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("samples")
    batch = what.add_parser("batch")
    batch.add_argument("lines")
    batch.add_argument("expected")
    what.add_parser("hostile")
    what.add_parser("runs")
    args = parser.parse_args()

    if args.fail2ban:
        sys.path.insert(0, str(Path(args.fail2ban) / "usr/lib/python3/dist-packages"))
    from fail2ban.version import version

    if args.what == "runs":
        check_runs(version)
        return
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
