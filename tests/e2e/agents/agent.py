"""An agent that asks what it is told to, with the stock HTTP clients of Python.

One JSON object per line on standard input: client, method, url, headers, body.
One JSON object per line on standard output: status, headers and body, or error.
The client "keep" asks nobody: it keeps what it is told turned over, bit by bit.
"""

import base64
import json
import sys
import urllib.error
import urllib.request


def with_urllib(ask):
    body = ask.get("body")
    request = urllib.request.Request(
        ask["url"],
        method=ask["method"],
        headers=ask.get("headers", {}),
        data=None if body is None else body.encode(),
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, dict(reply.headers), reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read().decode()


SESSIONS = {}


def with_requests(ask):
    import requests

    session = SESSIONS.setdefault("requests", requests.Session())
    reply = session.request(
        ask["method"], ask["url"], headers=ask.get("headers"), data=ask.get("body"), timeout=20
    )
    return reply.status_code, dict(reply.headers), reply.text


def with_httpx(ask):
    import httpx2

    client = SESSIONS.setdefault("httpx", None) or httpx2.Client(timeout=20)
    SESSIONS["httpx"] = client
    reply = client.request(ask["method"], ask["url"], headers=ask.get("headers"), content=ask.get("body"))
    return reply.status_code, dict(reply.headers), reply.text


CLIENTS = {"urllib": with_urllib, "requests": with_requests, "httpx": with_httpx}
KEPT = []

for line in sys.stdin:
    ask = json.loads(line)
    if ask["client"] == "keep":
        KEPT.extend(bytes(byte ^ 0xFF for byte in base64.b64decode(text)) for text in ask["turned"])
        print(json.dumps({"kept": len(ask["turned"])}), flush=True)
        continue
    try:
        status, headers, body = CLIENTS[ask["client"]](ask)
        said = {"status": status, "headers": {k.lower(): v for k, v in headers.items()}, "body": body}
    except Exception as error:  # whatever a stock client raises is what is looked at
        said = {"error": f"{type(error).__name__}: {error}"}
    KEPT.append(said)
    print(json.dumps(said), flush=True)
