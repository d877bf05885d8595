// Driver for @modelcontextprotocol/client 2.4.0: negotiates 2026-07-28 and
// falls back to 2025-11-25, as an up-to-date client does.
//
//   node modern.mjs --url URL [--token-file F] [--era auto|legacy|2026-07-28] SCENARIO [WORDS…]
//   node modern.mjs SCENARIO [WORDS…] -- COMMAND [ARGS…]      (stdio server)
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { parseArguments } from "../lib/cli.mjs";
import { DRIVER_OPTIONS, fetchWithToken, runScenario } from "../lib/driver.mjs";

const argv = process.argv.slice(2);
const cut = argv.indexOf("--");
const command = cut < 0 ? undefined : argv.slice(cut + 1);
const { options, words } = parseArguments(cut < 0 ? argv : argv.slice(0, cut), DRIVER_OPTIONS);

const MODES = { auto: "auto", legacy: "legacy", "2026-07-28": { pin: "2026-07-28" } };

function openTransport() {
    if (command !== undefined) {
        return new StdioClientTransport({ command: command[0], args: command.slice(1), stderr: "ignore" });
    }
    return new StreamableHTTPClientTransport(new URL(options.url), { fetch: fetchWithToken(options["token-file"]) });
}

async function connect() {
    const client = new Client(
        { name: "bailiwick-interop-modern", version: "1.0.0" },
        { versionNegotiation: { mode: MODES[options.era ?? "auto"] }, capabilities: {} }
    );
    await client.connect(openTransport());
    const timeout = Number(options.timeout);
    const port = {
        list: async () => (await client.listTools()).tools.map(tool => tool.name),
        call: (name, args, more) => client.callTool({ name, arguments: args }, { timeout, ...more }),
        resources: async () => (await client.listResources()).resources.map(resource => resource.uri),
        read: async uri => (await client.readResource({ uri })).contents,
        prompts: async () =>
            (await client.listPrompts()).prompts.map(({ name, arguments: args }) => ({ name, arguments: args?.length ?? 0 })),
        prompt: async (name, args) => (await client.getPrompt({ name, arguments: args })).messages
    };
    return { port, protocol: client.getNegotiatedProtocolVersion(), close: () => client.close() };
}

await runScenario("typescript-client-2.4.0", connect, words, options);
