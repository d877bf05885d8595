// Driver for @modelcontextprotocol/sdk 1.32.2: a client of the 2025-11-25
// revision with sessions.
//
//   node legacy.mjs --url URL [--token-file F] SCENARIO [WORDS…]
//   node legacy.mjs SCENARIO [WORDS…] -- COMMAND [ARGS…]      (stdio server)
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { parseArguments } from "../lib/cli.mjs";
import { DRIVER_OPTIONS, fetchWithToken, runScenario } from "../lib/driver.mjs";

const argv = process.argv.slice(2);
const cut = argv.indexOf("--");
const command = cut < 0 ? undefined : argv.slice(cut + 1);
const { options, words } = parseArguments(cut < 0 ? argv : argv.slice(0, cut), DRIVER_OPTIONS);

function openTransport() {
    if (command !== undefined) {
        return new StdioClientTransport({ command: command[0], args: command.slice(1), stderr: "ignore" });
    }
    return new StreamableHTTPClientTransport(new URL(options.url), { fetch: fetchWithToken(options["token-file"]) });
}

async function connect() {
    const client = new Client({ name: "bailiwick-interop-legacy", version: "1.0.0" }, { capabilities: {} });
    const transport = openTransport();
    let protocol;
    const remember = transport.setProtocolVersion?.bind(transport);
    transport.setProtocolVersion = version => {
        protocol = version;
        remember?.(version);
    };
    await client.connect(transport);
    const timeout = Number(options.timeout);
    const port = {
        list: async () => (await client.listTools()).tools.map(tool => tool.name),
        call: (name, args, more) => client.callTool({ name, arguments: args }, undefined, { timeout, ...more }),
        resources: async () => (await client.listResources()).resources.map(resource => resource.uri),
        read: async uri => (await client.readResource({ uri })).contents,
        prompts: async () =>
            (await client.listPrompts()).prompts.map(({ name, arguments: args }) => ({ name, arguments: args?.length ?? 0 })),
        prompt: async (name, args) => (await client.getPrompt({ name, arguments: args })).messages
    };
    const close = async () => {
        await transport.terminateSession?.();
        await client.close();
    };
    return { port, protocol, close };
}

await runScenario("typescript-sdk-1.32.2", connect, words, options);
