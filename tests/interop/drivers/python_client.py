"""Driver for the Python SDK `mcp` 2.3.0 (`mcp.Client`).

    python_client.py --url URL [--token-file F] [--era auto|legacy|2026-07-28] SCENARIO [WORDS...]
    python_client.py SCENARIO [WORDS...] -- COMMAND [ARGS...]        (stdio server)

Prints one JSON line; the long scenarios print a `started` line before it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

LONG_RUNNING = ("trigger-long-running-operation", "slow_operation")


def print_line(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


class TokenFile(httpx2.Auth):
    """Reads the bearer token anew for every request, as a renewing caller would.

    Also remembers the status of the last refused request: the SDK turns a 401
    into a JSON-RPC error of its own and drops the number.
    """

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.refused: dict[str, Any] | None = None

    def auth_flow(self, request: httpx2.Request):
        if self.path is not None:
            request.headers["authorization"] = "Bearer " + Path(self.path).read_text().strip()
        response = yield request
        if response.status_code in (401, 403):
            self.refused = {
                "status": response.status_code,
                "challenge": response.headers.get("www-authenticate"),
            }


def flatten(error: BaseException) -> BaseException:
    """The first leaf of an exception group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def describe_error(error: BaseException, auth: TokenFile) -> dict[str, Any]:
    error = flatten(error)
    if auth.refused is not None:
        refused, auth.refused = auth.refused, None
        return {"kind": "http", **refused, "message": str(error)}
    if isinstance(error, MCPError):
        if "timed out" in error.message.lower():
            return {"kind": "timeout", "message": error.message}
        if "closed" in error.message.lower() or "stream ended" in error.message.lower():
            return {"kind": "closed", "message": error.message}
        described: dict[str, Any] = {"kind": "rpc", "code": error.code, "message": error.message}
        return described if error.data is None else {**described, "data": error.data}
    if isinstance(error, httpx2.HTTPStatusError):
        return {"kind": "http", "status": error.response.status_code, "message": str(error)}
    if isinstance(error, (httpx2.TransportError, anyio.ClosedResourceError, anyio.BrokenResourceError)):
        return {"kind": "closed", "message": f"{type(error).__name__}: {error}"}
    return {"kind": "other", "name": type(error).__name__, "message": str(error)}


def plain(model: Any) -> Any:
    return model.model_dump(by_alias=True, mode="json", exclude_none=True)


class Run:
    def __init__(self, client: Client, options: argparse.Namespace, auth: TokenFile) -> None:
        self.client = client
        self.options = options
        self.auth = auth

    async def outcome(self, call: Any) -> dict[str, Any]:
        try:
            return {"ok": True, "result": plain(await call)}
        except Exception as error:  # reported, never hidden
            return {"ok": False, "error": describe_error(error, self.auth)}

    async def tool_names(self) -> list[str]:
        return [tool.name for tool in (await self.client.list_tools()).tools]

    async def list(self, _words: list[str]) -> dict[str, Any]:
        return {"tools": await self.tool_names()}

    async def call(self, words: list[str]) -> dict[str, Any]:
        arguments = json.loads(words[1]) if len(words) > 1 else {}
        return {"result": plain(await self.client.call_tool(words[0], arguments))}

    async def resources(self, words: list[str]) -> dict[str, Any]:
        uris = [str(resource.uri) for resource in (await self.client.list_resources()).resources]
        read = words[0] if words else (uris[0] if uris else None)
        contents = [] if read is None else plain(await self.client.read_resource(read))["contents"]
        return {"resources": uris, "read": read, "contents": contents}

    async def prompts(self, words: list[str]) -> dict[str, Any]:
        prompts = (await self.client.list_prompts()).prompts
        bare = [prompt.name for prompt in prompts if not prompt.arguments]
        got = words[0] if words else (bare[0] if bare else None)
        arguments = json.loads(words[1]) if len(words) > 1 else {}
        messages = [] if got is None else plain(await self.client.get_prompt(got, arguments))["messages"]
        return {"prompts": [prompt.name for prompt in prompts], "got": got, "messages": messages}

    async def work(self, words: list[str]) -> dict[str, Any]:
        tools = await self.tool_names()
        outcomes = [await self.outcome(self.client.call_tool(tool, args)) for tool, args in json.loads(words[0])]
        more: dict[str, Any] = {}
        if words[1:] == ["all"]:
            more = {**await self.resources([]), **await self.prompts([])}
        return {"tools": tools, "outcomes": outcomes, **more}

    async def long_call(self, _words: list[str], cancel: bool = False) -> dict[str, Any]:
        names = await self.tool_names()
        tool = self.options.tool or next((name for name in LONG_RUNNING if name in names), None)
        if tool is None:
            raise ValueError(f"the server offers none of {', '.join(LONG_RUNNING)}")
        seen = 0
        started = time.monotonic()
        scope = anyio.CancelScope()

        async def on_progress(progress: float, _total: float | None, _message: str | None) -> None:
            nonlocal seen
            seen += 1
            if seen == 1:
                print_line({"event": "started", "tool": tool, "progress": progress})
                if cancel:
                    scope.cancel()

        arguments = {"duration": self.options.duration, "steps": self.options.steps}
        ended: dict[str, Any] = {"ok": False, "error": {"kind": "aborted"}}
        with scope:
            ended = await self.outcome(self.client.call_tool(tool, arguments, progress_callback=on_progress))
        elapsed = int((time.monotonic() - started) * 1000)
        again = await self.outcome(self.client.call_tool(tool, {"duration": 0.1, "steps": 1}))
        return {"tool": tool, "progress": seen, "ended_after_ms": elapsed, "ended": ended, "next": again}

    async def cancel_call(self, words: list[str]) -> dict[str, Any]:
        return await self.long_call(words, cancel=True)


def parse() -> argparse.Namespace:
    argv = sys.argv[1:]
    command = None
    if "--" in argv:
        cut = argv.index("--")
        argv, command = argv[:cut], argv[cut + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url")
    parser.add_argument("--token-file")
    parser.add_argument("--era", default="auto", choices=["auto", "legacy", "2026-07-28"])
    parser.add_argument("--tool")
    parser.add_argument("--duration", type=float, default=30)
    parser.add_argument("--steps", type=float, default=60)
    parser.add_argument("--timeout", type=float, default=60_000, help="milliseconds")
    parser.add_argument("scenario", choices=["list", "call", "work", "resources", "prompts", "long-call", "cancel-call"])
    parser.add_argument("words", nargs="*")
    options = parser.parse_intermixed_args(argv)
    options.command = command
    return options


async def main() -> None:
    options = parse()
    auth = TokenFile(options.token_file)
    line: dict[str, Any] = {"client": "python-mcp-2.3.0", "scenario": options.scenario}
    http = create_mcp_http_client(auth=auth)
    if options.command:
        server: Any = StdioServerParameters(command=options.command[0], args=options.command[1:])
    else:
        server = streamable_http_client(options.url, http_client=http)
    try:
        async with http, Client(server, mode=options.era, read_timeout_seconds=options.timeout / 1000) as client:
            line["protocol"] = client.protocol_version
            run = Run(client, options, auth)
            scenario = getattr(run, options.scenario.replace("-", "_"))
            try:
                line.update({"ok": True, **await scenario(options.words)})
            except Exception as error:  # reported, never hidden
                line.update({"ok": False, "error": describe_error(error, auth)})
    except BaseException as error:  # connecting itself failed
        if isinstance(error, KeyboardInterrupt):
            raise
        if "ok" not in line:
            line.update({"ok": False, "error": describe_error(error, auth)})
    print_line(line)


anyio.run(main)
