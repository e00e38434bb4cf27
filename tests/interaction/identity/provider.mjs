// A real OAuth 2.1 / OIDC server for the identity tests: `oidc-provider` on loopback, with client credentials, the
// authorization code grant for whoever registers (RFC 7591), resource indicators (RFC 8707), JWT access tokens (RFC 9068)
// and DPoP (RFC 9449). Tokens for a resource that ends with `/opaque` are opaque, and can be revoked. Refresh tokens rotate.
// At the browser sits alice, who agrees to everything, or the person of /test/person. Clients that register for it exchange
// tokens (RFC 8693): an access token for their own client becomes one for `resource`, an ID token or a refresh token an ID-JAG.
//
// Started as: node provider.mjs MODULES PORT. Beside the server's own endpoints there are, for the tests:
// POST /test/rotate (the server signs with a new key and publishes only that one), POST /test/sign (a token of any
// claims, signed by the server's key with the `jose` library, for what an RFC 8693 exchange would issue), and
// POST /test/person ({"id", "groups"}: who logs in from now on), POST /test/assertion ({"header", "claims", "answer"}: what
// differs in ID-JAGs from now on), POST /test/life ({"seconds"}: of access tokens), and POST /test/logout (ends all that a person
// has agreed to).

import { generateKeyPairSync, randomUUID } from "node:crypto";
import http from "node:http";
import { pathToFileURL } from "node:url";

const [modules, port] = process.argv.slice(2);
const load = (path) => import(pathToFileURL(`${modules}/${path}`));
const { Provider, errors } = await load("oidc-provider/lib/index.js");
const { SignJWT, importJWK, jwtVerify } = await load("jose/dist/webapi/index.js");
const issuer = `http://127.0.0.1:${port}`;
// Documents of https://gateway.test come from the gateway of a test (POST /test/gateway).
let gateway = "";
let person = { id: "alice", groups: [] };
const groups = new Map();
const grants = new Map();
const EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange";
const TYPE = "urn:ietf:params:oauth:token-type:";
let assertion = {};
let life = 300;

function newKey() {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "ES256" };
}

function describe(resource) {
  return {
    scope: "mcp:call mcp:list",
    audience: resource,
    accessTokenTTL: life,
    accessTokenFormat: resource.endsWith("/opaque") ? "opaque" : "jwt",
    jwt: { sign: { alg: "ES256" } },
  };
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
        getResourceServerInfo: (_, resource) => describe(resource),
      },
    },
    rotateRefreshToken: true,
    interactions: { url: (_, interaction) => `/test/interaction/${interaction.uid}` },
    jwks: { keys: [key] },
    scopes: ["mcp:call", "mcp:list", "offline_access"],
  });
  const parameters = ["subject_token", "subject_token_type", "requested_token_type", "audience", "resource", "scope"];
  provider.registerGrantType(EXCHANGE, (ctx) => exchange(provider, key, ctx), parameters);
  provider.on("grant.error", (_, error) => console.log(`refused: ${error.message} ${error.error_detail ?? ""}`));
  return { key, provider, handle: provider.callback() };
}

async function exchange(provider, key, ctx) {
  const { client, params } = ctx.oidc;
  const subject = await subjectOf(provider, key, client.clientId, params);
  const isAssertion = params.requested_token_type === `${TYPE}id-jag`;
  if ((params.subject_token_type === `${TYPE}access_token`) === isAssertion) throw new errors.InvalidRequest("subject_token_type");
  ctx.body = await (isAssertion ? assert : issue)(provider, key, client, subject, params);
}

async function subjectOf(provider, key, clientId, { subject_token: token, subject_token_type: kind }) {
  if (kind === `${TYPE}refresh_token`) {
    const found = await provider.RefreshToken.find(token);
    if (found?.clientId !== clientId || !(await provider.Grant.find(found.grantId))) throw new errors.InvalidGrant("refresh token");
    return found.accountId;
  }
  const options = { issuer, audience: clientId };
  const { d: _, ...open } = key;
  const checked = await jwtVerify(token, await importJWK(open, "ES256"), options).catch(() => undefined);
  if (!checked) throw new errors.InvalidRequest("subject_token");
  return checked.payload.sub;
}

async function issue(provider, _key, client, subject, { resource, scope }) {
  const grant = new provider.Grant({ accountId: subject, clientId: client.clientId });
  grant.addResourceScope(resource, scope);
  const token = new provider.AccessToken({ accountId: subject, client, grantId: await grant.save(), gty: "token_exchange", scope });
  token.resourceServer = new provider.ResourceServer(resource, describe(resource));
  const value = await token.save();
  return { access_token: value, issued_token_type: `${TYPE}access_token`, token_type: "Bearer", expires_in: token.expiration, scope };
}

async function assert(_provider, key, client, sub, { audience, resource, scope }) {
  const iat = Math.floor(Date.now() / 1000);
  const own = { iss: issuer, sub, aud: audience, client_id: client.clientId, resource, scope, jti: randomUUID(), iat, exp: iat + 300 };
  const header = { alg: "ES256", kid: key.kid, typ: "oauth-id-jag+jwt", ...assertion.header };
  const signing = new SignJWT({ ...own, ...assertion.claims }).setProtectedHeader(header);
  const value = await signing.sign(await importJWK(key, "ES256"));
  return { access_token: value, issued_token_type: `${TYPE}id-jag`, token_type: "N_A", expires_in: 300, scope, ...assertion.answer };
}

async function logOut(provider, name) {
  for (const id of grants.get(name) ?? []) {
    await provider.RefreshToken.revokeByGrantId(id);
    await (await provider.Grant.find(id))?.destroy();
  }
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
  const grantId = await grant.save();
  grants.set(session.accountId, [...(grants.get(session.accountId) ?? []), grantId]);
  await provider.interactionFinished(request, response, { consent: { grantId } });
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
  } else if (request.url === "/test/assertion") {
    assertion = await body(request);
    response.end();
  } else if (request.url === "/test/life") {
    life = (await body(request)).seconds;
    response.end();
  } else if (request.url === "/test/logout") {
    await logOut(current.provider, (await body(request)).id);
    response.end();
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
