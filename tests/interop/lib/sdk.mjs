// Re-exports of the pinned official SDKs, so that scripts outside this folder
// (conformance/mcp) resolve the very packages of this folder's lock file.
export * as server from "@modelcontextprotocol/server";
export * as node from "@modelcontextprotocol/node";
export { z } from "zod";
