// The story lane: node story.mjs [SUITE…]
import { run } from "./lib/lane.mjs";
import "./story/spine.mjs";
import "./story/inventory.mjs";
import "./story/credential.mjs";
import "./story/composing.mjs";
import "./story/tokens.mjs";
import "./story/consent.mjs";
import "./story/authzen.mjs";
import "./story/kill.mjs";
import "./story/containment.mjs";
import "./story/pressing.mjs";
import "./story/logs.mjs";
import "./story/witness.mjs";
import "./story/commands.mjs";
import "./story/postgres.mjs";
import "./story/registering.mjs";
import "./story/nodes.mjs";
import "./story/rotation.mjs";
import "./story/run.mjs";
import "./story/egress.mjs";
import "./story/egress-pressure.mjs";
import "./story/aws.mjs";
import "./story/lease.mjs";
import "./story/drivers.mjs";
import "./story/opener.mjs";
import "./story/service.mjs";

await run("story", process.argv.slice(2));
