// A real OpenID provider (`oidc-provider`) in the shape of Microsoft Entra ID: the issuer has a path, its metadata are at
// `ISSUER/.well-known/openid-configuration` alone, nobody can register, and the `resource` of a client is refused. Tokens
// are for the application (`aud` is `api://opagate`), with short scopes in `scp`, and no answer names its issuer (`iss`).
//
// Started as: node tenant.mjs MODULES PORT. Alice sits at the browser, and agrees to everything.

import { generateKeyPairSync, randomUUID } from "node:crypto";
import http from "node:http";
import { pathToFileURL } from "node:url";

const [modules, port] = process.argv.slice(2);
const { Provider, errors } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`));
const place = "/tenant/v2.0";
const application = "api://opagate";
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });

const provider = new Provider(`http://127.0.0.1:${port}${place}`, {
  clients: [
    {
      client_id: "agents",
      application_type: "native",
      redirect_uris: ["http://127.0.0.1/callback"],
      grant_types: ["authorization_code", "refresh_token"],
      token_endpoint_auth_method: "none",
    },
  ],
  cookies: { keys: [randomUUID()] },
  extraTokenClaims: () => ({ ver: "2.0", tid: "tenant", oid: randomUUID(), scp: "call" }),
  features: {
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => application,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => {
        if (resource !== application) throw new errors.InvalidTarget();
        return { scope: `${application}/call`, audience: application, accessTokenFormat: "jwt", jwt: { sign: { alg: "RS256" } } };
      },
    },
  },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  interactions: { url: (_, interaction) => `/test/interaction/${interaction.uid}` },
  jwks: { keys: [{ ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "RS256" }] },
  scopes: ["openid", "offline_access"],
});
provider.on("grant.error", (_, error) => console.log(`refused: ${error.message} ${error.error_detail ?? ""}`));
provider.on("authorization.error", (_, error) => console.log(`refused: ${error.message} ${error.error_detail ?? ""}`));
const handle = provider.callback();

async function agree(request, response) {
  const { params, prompt, session } = await provider.interactionDetails(request, response);
  if (prompt.name === "login") {
    await provider.interactionFinished(request, response, { login: { accountId: "alice" } });
    return;
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope((prompt.details.missingOIDCScope ?? []).join(" "));
  for (const [resource, scopes] of Object.entries(prompt.details.missingResourceScopes ?? {})) {
    grant.addResourceScope(resource, scopes.join(" "));
  }
  await provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

function withoutIssuer(location) {
  const url = new URL(location, `http://127.0.0.1:${port}`);
  url.searchParams.delete("iss");
  return url.href;
}

async function answer(request, response) {
  const set = response.setHeader.bind(response);
  response.setHeader = (name, value) => set(name, name.toLowerCase() === "location" ? withoutIssuer(value) : value);
  if (request.url.startsWith("/test/interaction/")) {
    await agree(request, response);
  } else if (request.url.startsWith(`${place}/`)) {
    request.originalUrl = request.url;
    request.url = request.url.slice(place.length);
    await handle(request, response);
  } else {
    response.statusCode = 404;
    response.end();
  }
}

http.createServer(answer).listen(Number(port), "127.0.0.1", () => console.log("ready"));
