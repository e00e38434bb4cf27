// A real OAuth 2.1 / OIDC server for the identity tests: `oidc-provider` on loopback, with client credentials, the
// authorization code grant for whoever registers (RFC 7591), resource indicators (RFC 8707), JWT access tokens (RFC 9068)
// and DPoP (RFC 9449). Tokens for a resource that ends with `/opaque` are opaque, and can be revoked. Refresh tokens rotate.
// At the browser sits alice, who agrees to everything, or the person of /test/person.
//
// Started as: node provider.mjs MODULES PORT. Beside the server's own endpoints there are, for the tests:
// POST /test/rotate (the server signs with a new key and publishes only that one), POST /test/sign (a token of any
// claims, signed by the server's key with the `jose` library, for what an RFC 8693 exchange would issue), and
// POST /test/person ({"id", "groups"}: who logs in from now on).

import { generateKeyPairSync, randomUUID } from "node:crypto";
import http from "node:http";
import { pathToFileURL } from "node:url";

const [modules, port] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(`${modules}/${path}`));
const { Provider } = await load("oidc-provider/lib/index.js");
const { SignJWT, importJWK } = await load("jose/dist/webapi/index.js");
const issuer = `http://127.0.0.1:${port}`;
// Documents of https://gateway.test come from the gateway of a test (POST /test/gateway).
let gateway = "";
let person = { id: "alice", groups: [] };
const groups = new Map();

function newKey() {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "ES256" };
}

function serve(key) {
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: "agent-1",
        client_secret: "not a secret: a test on loopback",
        grant_types: ["client_credentials"],
        response_types: [],
        redirect_uris: [],
        token_endpoint_auth_method: "client_secret_post",
      },
    ],
    clientDefaults: { id_token_signed_response_alg: "ES256" },
    claims: { openid: ["sub", "groups"] },
    conformIdTokenClaims: false,
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, groups: groups.get(id) ?? [] }) }),
    cookies: { keys: [randomUUID()] },
    fetch: (url, options) =>
      globalThis.fetch(String(url).replace("https://gateway.test", gateway), { ...options, dispatcher: undefined }),
    features: {
      clientIdMetadataDocument: { enabled: true, ack: "draft-02" },
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      registration: { enabled: true },
      dPoP: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          scope: "mcp:call mcp:list",
          audience: resource,
          accessTokenTTL: 300,
          accessTokenFormat: resource.endsWith("/opaque") ? "opaque" : "jwt",
          jwt: { sign: { alg: "ES256" } },
        }),
      },
    },
    rotateRefreshToken: true,
    interactions: { url: (_, interaction) => `/test/interaction/${interaction.uid}` },
    jwks: { keys: [key] },
    scopes: ["mcp:call", "mcp:list", "offline_access"],
  });
  provider.on("grant.error", (_, error) => console.log(`refused: ${error.message} ${error.error_detail ?? ""}`));
  return { key, provider, handle: provider.callback() };
}

async function agree({ provider }, request, response) {
  const { params, prompt, session } = await provider.interactionDetails(request, response);
  if (prompt.name === "login") {
    await provider.interactionFinished(request, response, { login: { accountId: person.id } });
    return;
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope((prompt.details.missingOIDCScope ?? []).join(" "));
  for (const [resource, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(" "));
  }
  await provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString() || "{}");
}

let current = serve(newKey());

async function answer(request, response) {
  if (request.url === "/test/rotate") {
    current = serve(newKey());
    response.end(current.key.kid);
  } else if (request.url === "/test/sign") {
    const { header, claims } = await body(request);
    const token = new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid: current.key.kid, ...header });
    response.end(await token.sign(await importJWK(current.key, "ES256")));
  } else if (request.url === "/test/person") {
    person = await body(request);
    groups.set(person.id, person.groups);
    response.end(person.id);
  } else if (request.url === "/test/gateway") {
    gateway = (await body(request)).origin;
    response.end();
  } else if (request.url.startsWith("/test/interaction/")) {
    await agree(current, request, response);
  } else {
    await current.handle(request, response);
  }
}

http.createServer(answer).listen(Number(port), "127.0.0.1", () => console.log("ready"));
