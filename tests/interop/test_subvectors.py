"""Judges every vector of the subvectors corpus with `bailiwick trust lint`, and prints `subvectors: right/all`.

A vector is right when the binary says whether its token is let in as the corpus does, and, where the corpus grades the
policy, gives the same of the three grades (safe, caution, dangerous). Each condition is put into a policy file as the
platform has it. `SUBVECTORS_HALF=first|second` takes the vectors whose id has an even or an odd first byte of SHA-256:
the rules were written on the first half alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from subvectors import corpus

ISSUERS = {
    "bitbucket": "api.bitbucket.org/2.0/workspaces/acme/pipelines-config/identity/oidc",
    "circleci": "oidc.circleci.com/org/2a3b4c5d-1111-2222-3333-444455556666",
    "github": "token.actions.githubusercontent.com",
    "gitlab": "gitlab.com",
    "terraform-cloud": "app.terraform.io",
}
EXPECTED = 163
OPERATORS = {"aws-stringequals": "StringEquals", "aws-stringlike": "StringLike"}


def aws(issuer: str, condition: dict) -> dict:
    """A role's trust policy; the parts of a block are ANDed, keys of one operator stand in one object."""
    block: dict = {}
    for part in condition.get("of", [condition]):
        qualifier = f"{part['qualifier']}:" if "qualifier" in part else ""
        keys = block.setdefault(f"{qualifier}{OPERATORS[part['consumer']]}", {})
        key = f"{issuer}:{part.get('claim', 'sub')}"
        if key in keys:
            raise ValueError(f"{key} is there twice under one operator")
        keys[key] = part["pattern"]
    provider = f"arn:aws:iam::111122223333:oidc-provider/{issuer}"
    statement = {"Effect": "Allow", "Principal": {"Federated": provider}, "Action": "sts:AssumeRoleWithWebIdentity"}
    return {"Version": "2012-10-17", "Statement": [{**statement, "Condition": block}]}


def policy(vector: dict) -> tuple[str, dict]:
    """The platform, and the file as the platform has it."""
    issuer, condition = ISSUERS[vector["issuer"]], vector["condition"]
    consumer = condition["consumer"]
    if consumer.startswith("aws-"):
        return "aws", aws(issuer, condition)
    if consumer == "gcp-cel":
        return "gcp", {"oidc": {"issuerUri": f"https://{issuer}"}, "attributeCondition": condition["pattern"]}
    credential = {"issuer": f"https://{issuer}", "audiences": ["api://AzureADTokenExchange"]}
    if consumer == "azure-fic-exact":
        return "azure", {**credential, "subject": condition["pattern"]}
    return "azure", {**credential, "claimsMatchingExpression": {"value": condition["pattern"], "languageVersion": 1}}


def token(vector: dict) -> dict:
    return {**vector.get("claims", {}), "sub": vector["subject"]}


def judged(binary: str, vector: dict) -> dict:
    platform, document = policy(vector)
    with tempfile.TemporaryDirectory() as folder:
        files = {"policy.json": document, "token.json": token(vector)}
        for name, content in files.items():
            Path(folder, name).write_text(json.dumps(content), encoding="utf-8")
        command = [binary, "--json", "trust", "lint", "--platform", platform]
        command += ["--file", f"{folder}/policy.json", "--token", f"{folder}/token.json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode not in (0, 4):
        raise RuntimeError(f"{vector['id']}: exit {done.returncode}: {done.stderr}")
    (verdict,) = json.loads(done.stdout)["items"]
    return verdict


def faults(vector: dict, verdict: dict) -> list[str]:
    found = []
    if verdict["admitted"] != (vector["expect"] == "match"):
        found.append(f"expected {vector['expect']}, admitted is {verdict['admitted']}")
    grade = vector.get("judgment", {}).get("grade")
    if grade is not None and verdict["grade"] != grade:
        codes = ", ".join(f"{finding['severity']} {finding['code']}" for finding in verdict["findings"])
        found.append(f"graded {grade}, ours is {verdict['grade']} ({codes})")
    return found


def is_first(vector: dict) -> bool:
    return hashlib.sha256(vector["id"].encode()).digest()[0] % 2 == 0


class Corpus(unittest.TestCase):
    def test_every_vector_is_judged_right(self) -> None:
        vectors = [vector for name in corpus.suite_names() for vector in corpus.load_suite(name)["vectors"]]
        half = os.environ.get("SUBVECTORS_HALF")
        if half is not None:
            vectors = [vector for vector in vectors if is_first(vector) == (half == "first")]
        binary = os.environ.get("INTEROP_BINARY", str(Path(__file__).parents[2] / "target/debug/bailiwick"))
        with ThreadPoolExecutor(max_workers=4) as pool:
            verdicts = list(pool.map(lambda vector: judged(binary, vector), vectors))
        wrong = {vector["id"]: found for vector, verdict in zip(vectors, verdicts, strict=True) if (found := faults(vector, verdict))}
        print(f"subvectors: {len(vectors) - len(wrong)}/{len(vectors)}")
        self.assertEqual(wrong, {})
        if half is None:
            self.assertEqual(len(vectors), EXPECTED)


if __name__ == "__main__":
    unittest.main()
