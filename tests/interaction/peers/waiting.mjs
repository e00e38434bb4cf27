// A client of the SDK for TypeScript that makes one held call, as often as it is told.
// usage: node waiting.mjs '{"url", "token", "era", "opens": bool, "tool", "arguments", "times"}'; prints one JSON document.
// The word "opened" on standard error asks the test for the answer of a person; a line on standard input says that it was given.
import { createInterface } from "node:readline";
import { Client, StreamableHTTPClientTransport, UrlElicitationRequiredError } from "@modelcontextprotocol/client";

const given = JSON.parse(process.argv[2]);
const seen = { version: null, opened: [], forms: 0, requests: 0, notices: [], answers: [] };
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

async function person(url) {
  seen.opened.push(url);
  console.error(`opened ${url}`);
  await lines.next();
}

function count(url, init) {
  if (init?.body?.includes('"tools/call"')) seen.requests += 1;
  return fetch(url, init);
}

const modern = given.era === "2026-07-28";
const client = new Client({ name: "waiting", version: "1" }, {
  capabilities: given.opens ? { elicitation: { form: {}, url: {} } } : {},
  versionNegotiation: { mode: modern ? { pin: given.era } : "legacy" },
  ...(modern ? {} : { supportedProtocolVersions: [given.era] }),
});
if (given.opens) {
  client.setRequestHandler("elicitation/create", async (request) => {
    if (request.params.mode === "url") {
      await person(request.params.url);
      return { action: "accept" };
    }
    seen.forms += 1;
    const fields = Object.entries(request.params.requestedSchema.properties);
    return { action: "accept", content: Object.fromEntries(fields.map(([name, { type }]) => [name, type === "boolean" || "Ada"])) };
  });
  client.setNotificationHandler("notifications/elicitation/complete", (notice) => {
    seen.notices.push(notice.params.elicitationId);
  });
}
await client.connect(new StreamableHTTPClientTransport(new URL(given.url),
  { requestInit: { headers: { Authorization: `Bearer ${given.token}` } }, fetch: count }));
seen.version = client.getNegotiatedProtocolVersion?.() ?? given.era;

for (let time = 0; time < given.times; time += 1) {
  try {
    const result = await client.callTool({ name: given.tool, arguments: given.arguments });
    seen.answers.push({ is_error: result.isError === true, text: result.content[0].text });
  } catch (error) {
    if (!(error instanceof UrlElicitationRequiredError)) throw error;
    const [elicitation] = error.elicitations;
    await person(elicitation.url);
    for (let waited = 0; !seen.notices.includes(elicitation.elicitationId) && waited < 200; waited += 1)
      await new Promise((done) => setTimeout(done, 25));
    seen.answers.push({ elicited: elicitation.elicitationId, code: error.code });
  }
}
await client.close();
console.log(JSON.stringify(seen));
process.exit(0);
