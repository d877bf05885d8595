"""python3 -m unittest test_three_lists: each rule must be able to fail."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import io
import json
import tempfile
import unittest
from pathlib import Path
from typing import Any

import three_lists


def digest(n: int) -> str:
    return hashlib.sha256(str(n).encode()).hexdigest()


def permit(n: int) -> dict[str, Any]:
    return {"decision_id": f"dec_{n}", "args_sha256": digest(n), "effect": "permit"}


class ThreeLists(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = Path(folder.name)

    def write(self, name: str, rows: list[dict[str, Any]], end: str = "") -> str:
        path = self.dir / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) + end)
        return str(path)

    def judge(
        self,
        acks: list[dict[str, Any]],
        received: list[int],
        entries: list[dict[str, Any]],
        *more: str,
        end: str = "",
    ) -> tuple[int, dict[str, Any]]:
        argv = ["--acks", self.write("acks", acks, end), "--received"]
        argv += [self.write("received", [{"args_sha256": digest(n)} for n in received])]
        argv += ["--entries", self.write("entries", entries), *more]
        return self.run_it(argv)

    def run_it(self, argv: list[str]) -> tuple[int, dict[str, Any]]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = three_lists.main(argv)
        return code, json.loads(out.getvalue()) if out.getvalue() else {"error": err.getvalue()}

    def ack(self, n: int, **more: Any) -> dict[str, Any]:
        return {"args_sha256": digest(n), **more}

    def test_agreeing_lists(self) -> None:
        acks = [self.ack(1, decision_id="dec_1"), self.ack(2)]
        code, report = self.judge(acks, [1, 2, 3], [permit(n) for n in range(6)])
        self.assertEqual(code, 0, report)
        self.assertEqual(report["permitted_not_received"], 3)
        self.assertEqual(report["received_not_acknowledged"], 1)

    def test_forward_before_record(self) -> None:
        code, report = self.judge([self.ack(1)], [1, 2], [permit(1)])
        self.assertEqual(code, 1)
        self.assertIn("forwarded without a record", report["problems"][0])

    def test_a_denial_is_no_record_to_forward_on(self) -> None:
        code, report = self.judge([self.ack(1)], [1, 2], [permit(1), {**permit(2), "effect": "deny"}])
        self.assertEqual(code, 1)
        self.assertIn(digest(2), report["problems"][0])

    def test_twice_forwarded_once_recorded(self) -> None:
        code, report = self.judge([self.ack(1)], [1, 1], [permit(1)])
        self.assertEqual(code, 1)
        self.assertIn("received 2 times, permitted 1 times", report["problems"][0])

    def test_acknowledged_before_flush(self) -> None:
        code, report = self.judge([self.ack(1), self.ack(2)], [1], [permit(1)])
        self.assertEqual(code, 1)
        self.assertEqual(report["problem_count"], 2)
        self.assertIn("acknowledged without a record", report["problems"][0])
        self.assertIn("acknowledged but not forwarded", report["problems"][1])

    def test_acknowledged_decision_must_be_the_recorded_one(self) -> None:
        code, report = self.judge([self.ack(1, decision_id="dec_2")], [1], [permit(1), permit(2)])
        self.assertEqual(code, 1)
        self.assertIn("dec_2", report["problems"][0])

    def test_empty_lists_do_not_pass(self) -> None:
        code, report = self.judge([], [], [permit(1)])
        self.assertEqual(code, 1)
        self.assertIn("nothing was compared", report["problems"][-1])

    def test_floors(self) -> None:
        acks = [self.ack(n, life=n % 2) for n in range(4)]
        entries = [permit(n) for n in range(4)]
        self.assertEqual(self.judge(acks, list(range(4)), entries, "--median-min", "2", "--lives-min", "2")[0], 0)
        self.assertEqual(self.judge(acks, list(range(4)), entries, "--median-min", "3")[0], 1)
        self.assertEqual(self.judge(acks, list(range(4)), entries, "--lives-min", "3")[0], 1)

    def test_only_a_torn_last_line_of_a_caller_is_forgiven(self) -> None:
        self.assertEqual(self.judge([self.ack(1)], [1], [permit(1)], end='{"args_sha')[0], 0)
        self.assertEqual(self.judge([self.ack(1)], [1], [permit(1)], end="{torn}\n")[0], 2)

    def test_entries_from_tiles(self) -> None:
        key = b"k" * 32
        payloads = [json.dumps(permit(n)).encode() for n in range(300)]
        records = []
        for n, payload in enumerate(payloads):
            commitment = hmac.new(key, payload, hashlib.sha256).hexdigest()
            kind = "outcome" if n == 7 else "decision"
            records.append(json.dumps({"commitment": commitment, "kind": kind}).encode())
        for number, name in ((0, "000"), (1, "001.p/44")):
            path = self.dir / "log" / "tile" / "entries" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"".join(len(r).to_bytes(2, "big") + r for r in records[number * 256 : number * 256 + 256]))
        openings = [
            {"index": n, "key": base64.b64encode(key).decode(), "payload": base64.b64encode(p).decode()}
            for n, p in enumerate(payloads)
            if n != 7
        ]
        acks = self.write("acks", [self.ack(299)])
        received = self.write("received", [{"args_sha256": digest(299)}])
        argv = ["--acks", acks, "--received", received, "--tiles", str(self.dir / "log"), "--openings"]
        code, report = self.run_it([*argv, self.write("openings", openings)])
        self.assertEqual((code, report["entries"]), (0, 299), report)
        code, report = self.run_it([*argv, self.write("openings", openings[:-1])])
        self.assertEqual(code, 1)
        self.assertIn("entry 299: a decision without an opening", report["problems"])
        openings[3]["payload"] = openings[4]["payload"]
        code, report = self.run_it([*argv, self.write("openings", openings)])
        self.assertEqual(code, 1)
        self.assertIn("entry 3: the disclosed payload", report["problems"][0])


if __name__ == "__main__":
    unittest.main()
