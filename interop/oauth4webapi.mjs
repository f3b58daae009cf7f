// oauth4webapi and jose, unmodified: an orchestrator with a key in place of a secret, and the resource server that judges the
// tokens.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import * as jose from 'jose'
import * as oauth from 'oauth4webapi'
import { check, done, env } from './check.mjs'

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const TYPE = 'urn:ietf:params:oauth:token-type:'
const insecure = { [oauth.allowInsecureRequests]: true } // loopback
const issuer = new URL(env('OBO_ISSUER'))
const resource = env('OBO_EXECUTOR_AUDIENCE')
const id = { client_id: 'interop.orchestrator' }
const secret = oauth.ClientSecretBasic(env('ORCHESTRATOR_SECRET'))

let as
await check('oauth4webapi: discovery (RFC 8414)', async () => {
  as = await oauth.processDiscoveryResponse(issuer, await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure }))
})

// exchange asks once, and once more when a nonce is wanted.
async function exchange(who, auth, parameters, DPoP) {
  const ask = async () => oauth.processGenericTokenEndpointResponse(as, who,
    await oauth.genericTokenEndpointRequest(as, who, auth, EXCHANGE, parameters, { DPoP, ...insecure }))
  try {
    return await ask()
  } catch (err) {
    if (!DPoP || !oauth.isDPoPNonceError(err)) throw err
    return ask()
  }
}

const login = {
  subject_token: env('ID_TOKEN'), subject_token_type: `${TYPE}id_token`, resource, scope: 'tracker:issues:read',
}

let first
await check('oauth4webapi: token exchange', async () => {
  first = await exchange(id, secret, login)
  assert.equal(first.token_type, 'bearer')
})

const researcher = { client_id: 'interop.researcher' }
const jwk = JSON.parse(readFileSync(env('RESEARCHER_KEY'), 'utf8'))
const key = { key: await crypto.subtle.importKey('jwk', { ...jwk, key_ops: ['sign'], use: undefined },
  { name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign']), kid: jwk.kid }

await check('oauth4webapi: private_key_jwt, its audience the issuer', async () => {
  const token = await exchange(researcher, oauth.PrivateKeyJwt(key), login)
  assert.equal(token.scope, 'tracker:issues:read')
})

let second
await check('jose: an assertion of the next agent, as actor_token', async () => {
  const actor = await new jose.SignJWT({})
    .setProtectedHeader({ alg: 'ES256', kid: jwk.kid }).setIssuer('interop.researcher').setSubject('interop.researcher')
    .setAudience(as.issuer).setIssuedAt().setExpirationTime('1m').setJti(crypto.randomUUID()).sign(key.key)
  second = await exchange(id, secret, {
    ...login, subject_token: first.access_token, subject_token_type: `${TYPE}access_token`,
    actor_token: actor, actor_token_type: `${TYPE}jwt`,
  })
})

await check('jose: our key set verifies our token', async () => {
  const keys = jose.createRemoteJWKSet(new URL(as.jwks_uri))
  const { payload } = await jose.jwtVerify(second.access_token, keys, { issuer: as.issuer, audience: resource, typ: 'at+jwt' })
  assert.equal(payload.sub, 'user:interop/idp|alice')
  assert.equal(payload.act.sub, 'agent:interop/researcher')
  assert.equal(payload.act.act.sub, 'agent:interop/orchestrator')
})

await check('oauth4webapi: validateJwtAccessToken takes our token (RFC 9068)', async () => {
  const request = new Request(resource, { headers: { authorization: `Bearer ${second.access_token}` } })
  const claims = await oauth.validateJwtAccessToken(as, request, resource, insecure)
  assert.equal(claims.client_id, 'interop.orchestrator')
})

await check('oauth4webapi: validateJwtAccessToken refuses it elsewhere', () => assert.rejects(
  oauth.validateJwtAccessToken(as, new Request(resource, { headers: { authorization: `Bearer ${second.access_token}` } }),
    'https://elsewhere.example', insecure)))

let bound
const DPoP = oauth.DPoP(id, await oauth.generateKeyPair('ES256'))
await check('oauth4webapi: a DPoP-bound token', async () => {
  bound = await exchange(id, secret, login, DPoP)
  assert.equal(bound.token_type, 'dpop')
})

// presented is the request that oauth4webapi sends to a resource with a token, DPoP proof included.
async function presented(token) {
  let request
  await oauth.protectedResourceRequest(token, 'GET', new URL(`${resource}/issues?state=open`), undefined, undefined, {
    DPoP,
    ...insecure,
    [oauth.customFetch]: (url, options) => {
      request = new Request(url, { headers: options.headers, method: options.method })
      return new Response()
    },
  })
  return request
}

await check('oauth4webapi: validateJwtAccessToken takes the bound token with its proof', async () => {
  const claims = await oauth.validateJwtAccessToken(as, await presented(bound.access_token), resource,
    { requireDPoP: true, ...insecure })
  assert.deepEqual(Object.keys(claims.cnf), ['jkt'])
})

await check('oauth4webapi: validateJwtAccessToken refuses the bound token as Bearer', () => assert.rejects(
  oauth.validateJwtAccessToken(as, new Request(resource, { headers: { authorization: `Bearer ${bound.access_token}` } }),
    resource, insecure)))

const server = { client_id: 'interop.resource-server' }
const serverSecret = oauth.ClientSecretBasic(env('RESOURCE_SERVER_SECRET'))

await check('oauth4webapi: introspection (RFC 7662)', async () => {
  const answer = await oauth.processIntrospectionResponse(as, server,
    await oauth.introspectionRequest(as, server, serverSecret, bound.access_token, insecure))
  assert.equal(answer.active, true)
  assert.equal(answer.token_type.toLowerCase(), 'dpop')
  assert.equal(typeof answer.cnf.jkt, 'string')
})

await check('oauth4webapi: introspection as a signed JWT (RFC 9701), and its signature', async () => {
  const response = await oauth.introspectionRequest(as, server, serverSecret, second.access_token,
    { requestJwtResponse: true, ...insecure })
  const answer = await oauth.processIntrospectionResponse(as, server, response)
  assert.equal(answer.active, true)
  await oauth.validateApplicationLevelSignature(as, response, insecure)
})

await check('oauth4webapi: an inactive token, signed too', async () => {
  const response = await oauth.introspectionRequest(as, server, serverSecret, 'not.a.token', { requestJwtResponse: true, ...insecure })
  assert.deepEqual(await oauth.processIntrospectionResponse(as, server, response), { active: false })
})

await check('oauth4webapi: revocation, of a token and all that was derived from it', async () => {
  await oauth.processRevocationResponse(await oauth.revocationRequest(as, id, secret, first.access_token, insecure))
  const answer = await oauth.processIntrospectionResponse(as, server,
    await oauth.introspectionRequest(as, server, serverSecret, second.access_token, insecure))
  assert.deepEqual(answer, { active: false })
})

await check('oauth4webapi: protected resource metadata of the executor (RFC 9728)', async () => {
  const at = new URL(resource)
  const metadata = await oauth.processResourceDiscoveryResponse(at, await oauth.resourceDiscoveryRequest(at, insecure))
  assert.deepEqual(metadata.authorization_servers, [as.issuer])
})

done()
