"""Signs GetCallerIdentity with botocore and prints it as evidence; makes the caller at a moto first.

in (one JSON document): {"do": "role" | "sign", "endpoint", "host", "region", "audience"?, "key"?, "secret"?,
"session"?, "age_s"?}
"""

from __future__ import annotations

import base64
import json
import os
import sys
from datetime import datetime, timedelta, timezone
from unittest import mock

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

BODY = "Action=GetCallerIdentity&Version=2011-06-15"
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}


def client(asked: dict, service: str):
    return boto3.client(
        service,
        endpoint_url=asked["endpoint"],
        region_name=asked["region"],
        aws_access_key_id=asked.get("key", "AKIAANYBODY"),
        aws_secret_access_key=asked.get("secret", "anything"),
        verify=os.environ["REQUESTS_CA_BUNDLE"],
    )


def role(asked: dict) -> dict:
    """A role with a policy, and a session of it: what a workload on AWS holds."""
    iam = client(asked, "iam")
    made = iam.create_role(RoleName=asked["name"], AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    iam.put_role_policy(RoleName=asked["name"], PolicyName="its", PolicyDocument=json.dumps(ALLOW))
    held = client(asked, "sts").assume_role(RoleArn=made["Arn"], RoleSessionName="run-1")["Credentials"]
    return {
        "unique_id": made["RoleId"],
        "arn": made["Arn"],
        "key": held["AccessKeyId"],
        "secret": held["SecretAccessKey"],
        "session": held["SessionToken"],
    }


def sign(asked: dict) -> dict:
    headers = {"Host": asked["host"], "Content-Type": "application/x-www-form-urlencoded"}
    if asked.get("audience"):
        headers["X-Bailiwick-Audience"] = asked["audience"]
    headers.update(asked.get("headers", {}))
    request = AWSRequest("POST", f"https://{asked['host']}/", data=asked.get("body", BODY), headers=headers)
    auth = SigV4Auth(Credentials(asked["key"], asked["secret"], asked.get("session")), "sts", asked["region"])
    at = datetime.now(timezone.utc) - timedelta(seconds=asked.get("age_s", 0))
    with mock.patch("botocore.auth.get_current_datetime", lambda *_, **__: at.replace(tzinfo=None)):
        auth.add_auth(request)
    if asked.get("unsigned"):
        for name, value in asked["unsigned"].items():
            request.headers[name] = value
    shown = {"url": f"https://{asked['host']}/", "headers": dict(request.headers.items()), "body": asked.get("body", BODY)}
    return {"assertion": base64.urlsafe_b64encode(json.dumps(shown).encode()).decode().rstrip("=")}


def main() -> None:
    asked = json.load(sys.stdin)
    print(json.dumps({"role": role, "sign": sign}[asked["do"]](asked)))


if __name__ == "__main__":
    main()
