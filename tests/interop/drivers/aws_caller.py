"""Calls AWS services with boto3, one JSON line in, one JSON line out.

in:  {"key", "secret", "session"?, "service", "action", "parameters"?}
out: {"ok": true, "result"} or {"ok": false, "code", "message", "status"}

python aws_caller.py --endpoint URL
"""

import argparse
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

options = argparse.ArgumentParser()
options.add_argument("--endpoint", required=True)
options.add_argument("--region", default="us-east-1")
options = options.parse_args()


def call(line):
    session = boto3.session.Session(
        aws_access_key_id=line["key"],
        aws_secret_access_key=line["secret"],
        aws_session_token=line.get("session"),
        region_name=options.region,
    )
    client = session.client(
        line["service"],
        endpoint_url=options.endpoint,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20),
    )
    try:
        result = getattr(client, line["action"])(**line.get("parameters", {}))
    except ClientError as error:
        said = error.response["Error"]
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return {"ok": False, "code": said.get("Code"), "message": said.get("Message"), "status": status}
    result.pop("ResponseMetadata", None)
    return {"ok": True, "result": result}


for text in sys.stdin:
    print(json.dumps(call(json.loads(text)), default=str), flush=True)
