"""Pillarbox beside other relays on this machine, in alternating rounds: A B C, A B C, …

    python -m tests.bench --rounds 4 --haraka DIRECTORY --into RESULTS

writes `bench.json` (every round), `bench.md` (medians and ranges) and one plot for each load into RESULTS. Loads:

* `kept`: 4 KiB mails over 20 connections that stay open, a reply at a time;
* `pipelined`: the same, with MAIL, RCPT and DATA in one write (RFC 2920);
* `new`: a connection for every mail;
* `large`: 50 KiB mails over 20 connections;
* `huge`: 1 MiB mails, a twentieth of the number;
* `rest`: 4 KiB of JSON for each mail over 20 connections, for those that have such a door;
* `half`: as `kept`, at half the rate that Pillarbox took there: what a client waits for when the machine is not full.

Load generator, relay and sink share the machine's cores, so every rate is a floor. Compare within one run only.
"""

import argparse
import datetime as dt
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

from tests.bench import report, throughput
from tests.bench.measure import load_options
from tests.bench.peers import PEERS

_KEPT = {"size": 4096, "pipelined": False, "reconnect": False, "rest": False, "rate": 0}
LOADS: dict[str, dict[str, Any]] = {
    "kept": _KEPT,
    "pipelined": {**_KEPT, "pipelined": True},
    "new": {**_KEPT, "reconnect": True},
    "large": {**_KEPT, "size": 50 * 1024},
    "huge": {**_KEPT, "size": 1024 * 1024, "share": 20},
    "rest": {**_KEPT, "rest": True},
    "half": {**_KEPT, "rate": None},
}
#: what the report says of each
SAID = {
    "kept": "4 KiB mails over 20 connections that stay open, a reply at a time",
    "pipelined": "The same, with MAIL, RCPT and DATA in one write",
    "new": "4 KiB mails, a connection for each",
    "large": "50 KiB mails over 20 connections that stay open",
    "huge": "1 MiB mails over 20 connections that stay open",
    "rest": "4 KiB of JSON for each mail over 20 connections that stay open",
    "half": "As kept, at half the rate that Pillarbox took there",
}
Results = dict[str, dict[str, list[dict[str, float]]]]


def _machine() -> dict[str, Any]:
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        "",
    )
    return {
        "at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "cpu": model,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def measure(options: argparse.Namespace, names: list[str], earlier: Results) -> Results:
    """Every load, round by round; relays take turns within a round."""
    results: Results = {}
    for load in options.loads:
        settings = dict(LOADS[load])
        if settings["rate"] is None:
            taken = {**earlier, **results}.get("kept", {}).get("pillarbox")
            settings["rate"] = (
                statistics.median(one["accepted_per_second"] for one in taken) / 2 if taken else 500
            )
        mails = max(options.mails // settings.pop("share", 1), options.connections)
        arguments = argparse.Namespace(**{**vars(options), **settings, "mails": mails})
        rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for number in range(options.rounds):
            for name in names:
                if settings["rest"] and not PEERS[name].rest:
                    continue
                try:
                    found = PEERS[name].run(arguments)
                except (TimeoutError, RuntimeError, AssertionError) as error:
                    # A relay that stalls under a load is a result, and the others are measured all the same.
                    print(f"{load}, round {number + 1}: {name}: {error}", file=sys.stderr)
                    continue
                rounds[name].append(found)
                print(
                    f"{load}, round {number + 1}: {name}: {found['delivered_per_second']:.0f}/s",
                    file=sys.stderr,
                )
        results[load] = {name: found for name, found in rounds.items() if found}
    return results


def written(whole: dict[str, Any]) -> str:
    """The report as Markdown, of what `bench.json` has."""
    machine, results = whole["machine"], whole["results"]
    lines = [
        "# Benchmark",
        "",
        (
            "Written by `python -m tests.bench`; [how to read it](../performance.md); `bench.json` beside this page"
            " has every round."
        ),
        "",
        (
            f"{machine['cores']} cores ({machine['cpu']}) shared with load generator and sink, {machine['system']},"
            f" Python {machine['python']}, {machine['at'][:10]}; {_rounds(results)} alternating rounds of"
            f" {whole['mails']:,} mails. Medians, [least to most]."
        ),
    ]
    # One run is not compared with another.
    apart = {one.partition(" ")[0] for one in whole["apart"]}
    for load, found in results.items():
        lines += ["", f"## {load}", "", f"{SAID[load]}.", "", report.table(found)]
        beside = {name: rounds for name, rounds in found.items() if name not in apart}
        ratios = report.ratios(beside, "pillarbox")
        if ratios and LOADS[load]["rate"] == 0:
            lines += ["", ratios]
        lines += ["", f"![Mails per second: {load}](bench-{load}.svg)"]
    names = sorted({name for found in results.values() for name in found})
    lines += ["", "## What is on disk before the 250", ""]
    lines += [f"* {name}: {PEERS[name].durability}." for name in names]
    if whole["apart"]:
        lines += ["", f"Measured apart, one after the other: {', '.join(whole['apart'])}."]
    if whole["left_out"]:
        left_out = "; ".join(f"{name} ({why})" for name, why in whole["left_out"].items())
        lines += ["", f"Left out here: {left_out}."]
    return "\n".join(lines) + "\n"


def _rounds(results: Results) -> str:
    """How many each relay had at least and at most."""
    counts = sorted({len(rounds) for found in results.values() for rounds in found.values()})
    return f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"


def _with_earlier(whole: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """What an earlier run has found, with what this one adds."""
    fewer = "" if whole["mails"] == earlier["mails"] else f" ({whole['mails']:,} mails a round)"
    for load, found in whole["results"].items():
        if load in earlier["results"]:
            apart = [name + fewer for name in found]
            earlier["apart"] += [one for one in apart if one not in earlier["apart"]]
        earlier["results"].setdefault(load, {}).update(found)
    there = {name for found in earlier["results"].values() for name in found}
    earlier["left_out"] = {name: why for name, why in earlier["left_out"].items() if name not in there}
    return earlier


def main() -> None:
    parser = load_options(__doc__)
    throughput.add_options(parser)
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=["kept"])
    parser.add_argument("--only", nargs="+", choices=PEERS, help="these relays only")
    parser.add_argument("--haraka", type=Path, help="a directory in which npm has installed Haraka")
    parser.add_argument(
        "--add",
        action="store_true",
        help="add relays that cannot be installed beside others to what RESULTS has",
    )
    parser.add_argument("--into", type=Path, default=Path("bench-results"))
    options = parser.parse_args()
    options.into.mkdir(parents=True, exist_ok=True)
    earlier = json.loads((options.into / "bench.json").read_text()) if options.add else None
    wanted = {name: PEERS[name].missing(options) for name in options.only or PEERS}
    whole = {
        "machine": _machine(),
        "mails": options.mails,
        "rounds": options.rounds,
        "apart": [],
        "left_out": {name: why for name, why in wanted.items() if why},
        "results": measure(
            options,
            [name for name, missing in wanted.items() if not missing],
            earlier["results"] if earlier else {},
        ),
    }
    if earlier:
        whole = _with_earlier(whole, earlier)
    (options.into / "bench.json").write_text(json.dumps(whole, indent=2) + "\n")
    text = written(whole)
    (options.into / "bench.md").write_text(text)
    for load, found in whole["results"].items():
        if found:
            (options.into / f"bench-{load}.svg").write_text(report.plot(found, f"Mails per second: {load}"))
    print(text)


if __name__ == "__main__":
    main()
