"""Compares the three lists of the durability run, with no code of Bailiwick.

    three_lists.py --acks FILE... --received FILE...
                   (--entries FILE... | --tiles DIR --openings FILE)
                   [--median-min N] [--lives-min N]

1. what the callers were told   {"args_sha256", "decision_id"?, "life"?}
2. what the upstream received   {"args_sha256"}
3. what the log holds           {"args_sha256", "decision_id", "effect"}

Every file has one JSON object per line; README.md describes the members. The
third list comes either ready-made (--entries) or, so that nothing has to be
believed, from the exported tiles themselves: the entry bundles are read here
and every decision is opened with its disclosed payload, whose HMAC must be
the entry's commitment.

Rules, each with the SHA-256 of the arguments as the name of a call, counted:
- forwarded without a record: the upstream received a call more often than
  the log has permits for it;
- acknowledged without a record: a caller was told of a call that has no
  permit (of that decision id, if the caller knows it);
- acknowledged but not forwarded: a caller was told of a call more often than
  the upstream received it.

Prints one JSON object. Exit code 0 when all rules hold, 1 when one does not,
2 for unreadable input.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import statistics
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHOWN_MAX = 20
BUNDLE_WIDTH = 256


class InputError(Exception):
    """A list cannot be read."""


def lines(paths: list[str], torn_end_allowed: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of the files, with where it stands.

    A process that is killed while it writes may leave its last line torn;
    that line was not finished, so it claims nothing.
    """
    for path in paths:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
        whole = text.endswith("\n")
        rows = text.splitlines()
        for number, row in enumerate(rows, start=1):
            where = f"{path}:{number}"
            try:
                value = json.loads(row)
            except json.JSONDecodeError:
                if torn_end_allowed and number == len(rows) and not whole:
                    return
                raise InputError(f"{where}: not JSON") from None
            if not isinstance(value, dict):
                raise InputError(f"{where}: not an object")
            yield where, value


def digest_of(where: str, value: dict[str, Any], field: str) -> str:
    digest = value.get(field)
    if not isinstance(digest, str) or len(digest) != 64 or any(c not in "0123456789abcdef" for c in digest):
        raise InputError(f"{where}: `{field}` must be 64 lower-case hex digits")
    return digest


def bundle_paths(tiles: Path) -> list[Path]:
    """The entry bundles in order: full ones, then the widest partial one."""
    root = tiles / "tile" / "entries"
    full: dict[int, Path] = {}
    partial: dict[int, tuple[int, Path]] = {}
    for path in root.rglob("*"):
        if path.is_dir():
            continue
        parts = path.relative_to(root).parts
        width = None
        if len(parts) > 1 and parts[-2].endswith(".p"):
            width = int(parts[-1])
            parts = (*parts[:-2], parts[-2][:-2])
        number = int("".join(part.removeprefix("x") for part in parts))
        if width is None:
            full[number] = path
        elif width > partial.get(number, (0, path))[0]:
            partial[number] = (width, path)
    paths = []
    for number in range(len(full) + 1):
        if number in full:
            paths.append(full[number])
        elif number in partial:
            paths.append(partial[number][1])
    highest = max([*full, *partial], default=-1)
    if len(paths) != highest + 1:
        raise InputError(f"{root}: the entry bundles have a gap")
    return paths


def leaves(tiles: Path) -> Iterator[tuple[int, bytes]]:
    """Every entry of a C2SP tlog-tiles log: big-endian uint16 length, then the bytes."""
    for number, path in enumerate(bundle_paths(tiles)):
        data = path.read_bytes()
        at = 0
        position = number * BUNDLE_WIDTH
        while at < len(data):
            length = int.from_bytes(data[at : at + 2], "big")
            entry = data[at + 2 : at + 2 + length]
            if len(entry) != length or at + 2 > len(data):
                raise InputError(f"{path}: ends within entry {position}")
            yield position, entry
            at += 2 + length
            position += 1


def opened_entries(tiles: Path, openings: str, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The payloads of all decisions in the tiles, each checked against its commitment."""
    disclosed: dict[int, dict[str, Any]] = {}
    for where, value in lines([openings]):
        index = value.get("index")
        if not isinstance(index, int) or index in disclosed:
            raise InputError(f"{where}: `index` must be an integer that occurs once")
        disclosed[index] = value
    for index, leaf in leaves(tiles):
        record = json.loads(leaf)
        if record.get("kind") != "decision":
            continue
        opening = disclosed.get(index)
        if opening is None:
            problems.append(f"entry {index}: a decision without an opening")
            continue
        payload = base64.b64decode(opening["payload"], validate=True)
        key = base64.b64decode(opening["key"], validate=True)
        if not hmac.compare_digest(hmac.new(key, payload, hashlib.sha256).hexdigest(), record["commitment"]):
            problems.append(f"entry {index}: the disclosed payload is not the one the entry commits to")
            continue
        yield f"entry {index}", json.loads(payload)


class Log:
    """The permits among the decisions."""

    def __init__(self, rows: Iterator[tuple[str, dict[str, Any]]], options: argparse.Namespace, problems: list[str]) -> None:
        self.entries = 0
        self.permits: Counter[str] = Counter()
        self.by_decision: dict[str, str] = {}
        for where, value in rows:
            self.entries += 1
            decision = value.get(options.decision_field)
            if not isinstance(decision, str):
                raise InputError(f"{where}: `{options.decision_field}` is missing")
            if decision in self.by_decision:
                problems.append(f"{where}: decision `{decision}` is recorded twice")
            if value.get(options.effect_field) != "permit":
                self.by_decision[decision] = ""
                continue
            if value.get(options.args_field) is None:
                # A permitted call without arguments, such as a listing.
                self.by_decision[decision] = ""
                continue
            digest = digest_of(where, value, options.args_field)
            self.permits[digest] += 1
            self.by_decision[decision] = digest


def compare(options: argparse.Namespace) -> dict[str, Any]:
    problems: list[str] = []
    if options.entries:
        rows = lines(options.entries)
    else:
        rows = opened_entries(Path(options.tiles), options.openings, problems)
    log = Log(rows, options, problems)

    received = Counter(digest_of(where, value, "args_sha256") for where, value in lines(options.received))
    acknowledged: Counter[str] = Counter()
    lives: Counter[Any] = Counter()
    for where, value in lines(options.acks, torn_end_allowed=True):
        digest = digest_of(where, value, "args_sha256")
        acknowledged[digest] += 1
        if "life" in value:
            lives[value["life"]] += 1
        decision = value.get("decision_id")
        if decision is not None and log.by_decision.get(decision) != digest:
            problems.append(f"{where}: acknowledged without a record: decision `{decision}` for these arguments")

    for digest, count in received.items():
        if count > log.permits[digest]:
            problems.append(f"forwarded without a record: {digest}, received {count} times, permitted {log.permits[digest]} times")
    for digest, count in acknowledged.items():
        if count > log.permits[digest]:
            problems.append(f"acknowledged without a record: {digest}, {count} times, permitted {log.permits[digest]} times")
        if count > received[digest]:
            problems.append(f"acknowledged but not forwarded: {digest}, {count} times, received {received[digest]} times")

    median = statistics.median(lives.values()) if lives else None
    if options.lives_min is not None and len(lives) < options.lives_min:
        problems.append(f"{len(lives)} lives acknowledged something, {options.lives_min} are needed")
    if options.median_min is not None and (median is None or median < options.median_min):
        problems.append(f"the median life acknowledged {median} calls, {options.median_min} are needed")
    if acknowledged.total() == 0 or received.total() == 0:
        problems.append("a list is empty: nothing was compared")
    return {
        "ok": not problems,
        "acknowledged": acknowledged.total(),
        "received": received.total(),
        "entries": log.entries,
        "permits": log.permits.total(),
        "permitted_not_received": (log.permits - received).total(),
        "received_not_acknowledged": (received - acknowledged).total(),
        "lives": len(lives),
        "median_per_life": median,
        "problem_count": len(problems),
        "problems": problems[:SHOWN_MAX],
    }


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--acks", nargs="+", required=True)
    parser.add_argument("--received", nargs="+", required=True)
    parser.add_argument("--entries", nargs="+")
    parser.add_argument("--tiles")
    parser.add_argument("--openings")
    parser.add_argument("--median-min", type=int)
    parser.add_argument("--lives-min", type=int)
    parser.add_argument("--decision-field", default="decision_id")
    parser.add_argument("--args-field", default="args_sha256")
    parser.add_argument("--effect-field", default="effect")
    options = parser.parse_args(argv)
    if bool(options.entries) == bool(options.tiles) or bool(options.tiles) != bool(options.openings):
        parser.error("give either --entries or both --tiles and --openings")
    return options


def main(argv: list[str]) -> int:
    options = parse(argv)
    try:
        report = compare(options)
    except (InputError, OSError, KeyError, ValueError) as error:
        print(f"three_lists: {error}", file=sys.stderr)
        return 2
    print(json.dumps(report))
    for problem in report["problems"]:
        print(f"three_lists: {problem}", file=sys.stderr)
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
