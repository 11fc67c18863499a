#!/usr/bin/python3
"""Checks the shipped filter with a real fail2ban, in all of its modes.

samples                 every line of samples/*.log gives what the failJSON above it says, every regular
                        expression of the filter has a sample, and so has every event type in it
batch LINES EXPECTED    every line of the log LINES gives what the line of EXPECTED beside it says:
                        null, or {"ip": …, "time": epoch seconds, "modes": ["failures", …]}
hostile                 no line, however long and odd, keeps the filter busy
own-tests               of fail2ban's own tests of filters, their samples, jails and actions none fails with the kit
                        and its samples added that passes without
runs                    this Python can run this fail2ban

"modes" names every mode that matches a line; without it, failures does. "time" in a failJSON is UTC.
"""

import argparse
import ipaddress
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

HERE = Path(__file__).resolve().parent
KIT = HERE.parent.parent.parent / "conf" / "fail2ban"
NAME = "freeswitch-fail2ban"
MODES = ("attackers", "proven", "failures")
OLD_MODES = ("normal", "aggressive", "known", "reported")
MISMATCHES_SHOWN = 10
HOSTILE_SECONDS = 0.03
# As the program fail2ban-testcases does; prints the number of tests, and the names of those that fail.
RUN_OWN_TESTS = """
import io, json, unittest
from fail2ban.tests.utils import gatherTests, getOptParser, initProcess
wanted = ["FilterSamplesRegex", "JailReaderTest", "JailsReaderTest", "FilterReaderTest"]
options, _ = getOptParser("").parse_args(["--fast", "--no-network"])
outcome = unittest.TextTestRunner(io.StringIO()).run(gatherTests(wanted, initProcess(options)))
failed = {test.id(): trace for test, trace in outcome.failures + outcome.errors}
print(json.dumps([outcome.testsRun, failed]))
"""


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
    """The one spelling of an address or network; IPv4 out of its IPv6 wrapping, as fail2ban bans it."""
    if "/" in text:
        return str(ipaddress.ip_network(text))
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
    modes = wish.get("modes", ["failures"])
    if set(modes).difference(MODES):
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


def event_types():
    """The names and classic texts of the events that the filter matches, as written there."""
    lists = re.findall(r"^_failure(?:_text)? *= (.+)$", (KIT / "filter.d" / f"{NAME}.conf").read_text(), re.M)
    if len(lists) != 2:
        sys.exit(f"{NAME}.conf: 2 lists of events expected, {len(lists)} found")
    return {one for each in lists for one in each.split("|")} | {"attacker", "An attacker was found"}


def check_samples():
    mismatches = []
    samples = [
        (path.name, wish_of(fail_json), line)
        for path in sorted((HERE / "samples").glob("*.log"))
        for fail_json, line in read_samples(path)
    ]
    attackers = load_filter("attackers").getFailRegex()
    for mode in OLD_MODES:
        if load_filter(mode).getFailRegex() != attackers:
            mismatches.append(f"{mode}, a mode of release 1.1.0, does not mean attackers")
    counted_events = set()
    for mode in MODES:
        jail_filter = load_filter(mode)
        without_sample = set(range(len(jail_filter.getFailRegex())))
        for name, wish, line in samples:
            regexes, found = find(jail_filter, line)
            without_sample.difference_update(regexes)
            if found:
                event = re.match(r'(?:\S+ mod_fail2ban: |{"time":"[^"]+","event":")([a-z_]+)|(.+?) user\[', line)
                counted_events.update(event.groups())
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
               "a_", " caused register_failure", "\\", '\\"', ',"a":"b"', ',"a":1', ',"a":{"b":1,"b":1}', ',"a":{', '{"a":1,',
               ',"proven":true', ',"source":"192.0.2.1"', " proven=yes", " source=192.0.2.1", "\u00fc", "\u2028", "\r"]
    heads = ["", "A", "A registration failed user[", "A registration failed user[] ip[",
             "A registration failed user[x] ip[192.0.2.1] at[", "Abandoned call from  user[",
             "A known address caused ", "A known address caused register_failure user[",
             "An attacker was found user[x] ip[", f"An attacker was found user[x] ip[192.0.2.1] at[{date}",
             dated, f"{dated}register_failure ip=", f'{dated}register_failure ip=192.0.2.1 user="',
             f"{dated}register_failure ip=192.0.2.1 known=no", f"{dated}reported ip=192.0.2.1 known=yes",
             f"{dated}attacker source=", f"{dated}attacker source=192.0.2.1 ip=192.0.2.1",
             f"{dated}attacker source=192.0.2.1 ip=192.0.2.1 proven=yes", '{"time":"', f'{{"time":"{date}","event":"',
             f'{{"time":"{date}","event":"attacker"', f'{{"time":"{date}","event":"attacker","source":"192.0.2.1"',
             f'{{"time":"{date}","event":"register_failure","ip":"192.0.2.1","user":"']
    tails = ["", "x", '"', '"}', "}", ',"proven":true}', ',"source":"192.0.2.1"}x', " proven=yes", " proven=yes x", f"] ip[192.0.2.1] at[{date}]",
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


def write_samples(path):
    """The samples in the form that fail2ban keeps them in."""
    with open(path, "w", encoding="utf-8") as samples:
        for mode in MODES:
            print(f'# filterOptions: {{"mode": "{mode}"}}', file=samples)
            for source in sorted((HERE / "samples").glob("*.log")):
                for fail_json, line in read_samples(source):
                    wish = {"match": bool(expected(wish_of(fail_json), mode))}
                    if wish["match"]:
                        # It wants the local time of the suite's own time zone.
                        when = datetime.fromisoformat(fail_json["time"]).replace(tzinfo=timezone.utc)
                        when = when.astimezone(ZoneInfo("Europe/Zurich")).replace(tzinfo=None)
                        wish |= {"time": when.isoformat(), "host": fail_json["host"]}
                    print(f"# failJSON: {json.dumps(wish)}\n{line}", file=samples)


def run_own_tests(with_kit):
    """The number of fail2ban's own tests that were run, and those that failed with their traces."""
    import fail2ban

    package = Path(fail2ban.__file__).parent
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        shutil.copytree(package, folder / "fail2ban")
        # The suite reads the configuration in the working directory.
        shutil.copytree(package.parents[4] / "etc/fail2ban", folder / "config")
        # Debian's own, which enables a jail that the suite wants disabled.
        (folder / "config/jail.d/defaults-debian.conf").unlink()
        if with_kit:
            shutil.copytree(KIT, folder / "config", dirs_exist_ok=True)
            write_samples(folder / "fail2ban/tests/files/logs" / NAME)
        command = [sys.executable, "-c", RUN_OWN_TESTS]
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        output = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout
        return json.loads(output.splitlines()[-1])


def check_own_tests():
    (without, failed_before), (count, failed) = run_own_tests(False), run_own_tests(True)
    mismatches = [f"{name}: {trace}" for name, trace in failed.items() if name not in failed_before]
    if count <= without:
        mismatches.append(f"no test of the kit's filter among {count}")
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
    what.add_parser("own-tests")
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
    elif args.what == "own-tests":
        count, mismatches = check_own_tests()
    elif args.what == "batch":
        count, mismatches = check_batch(args.lines, args.expected)
    else:
        count, mismatches = check_hostile()
    for mismatch in mismatches[:MISMATCHES_SHOWN]:
        print(mismatch, file=sys.stderr)
    verdict = "FAILED" if mismatches else "ok"
    print(f"fail2ban {version}: {count} checked in {time.monotonic() - began:.1f} s: {verdict}")
    sys.exit(1 if mismatches or not count else 0)


if __name__ == "__main__":
    main()
