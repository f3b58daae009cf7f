// openid-client, unmodified, as an orchestrator.

import assert from 'node:assert/strict'
import * as client from 'openid-client'
import { check, done, env } from './check.mjs'

const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const TYPE = 'urn:ietf:params:oauth:token-type:'
const resource = env('OBO_EXECUTOR_AUDIENCE')
const login = {
  subject_token: env('ID_TOKEN'),
  subject_token_type: `${TYPE}id_token`,
  resource,
  scope: 'tracker:issues:read',
}

const sorted = (details) => details.map((d) => Object.fromEntries(Object.entries(d).sort()))

const configured = (id, secret) => client.discovery(new URL(env('OBO_ISSUER')), id, undefined, secret,
  { algorithm: 'oauth2', execute: [client.allowInsecureRequests] })
const post = await configured('interop.orchestrator', client.ClientSecretPost(env('ORCHESTRATOR_SECRET')))
const basic = await configured('interop.orchestrator', client.ClientSecretBasic(env('ORCHESTRATOR_SECRET')))

await check('openid-client: discovery (RFC 8414)', () => {
  const metadata = post.serverMetadata()
  assert.equal(metadata.issuer, env('OBO_ISSUER'))
  assert.ok(metadata.grant_types_supported.includes(EXCHANGE))
})

await check('openid-client: token exchange, client_secret_post', async () => {
  const token = await client.genericGrantRequest(post, EXCHANGE, login)
  assert.equal(token.token_type, 'bearer')
  assert.equal(token.issued_token_type, `${TYPE}access_token`)
  assert.equal(token.scope, 'tracker:issues:read')
  assert.ok(token.expires_in > 0)
})

let first
await check('openid-client: token exchange, client_secret_basic, with authorization_details', async () => {
  const details = [{ type: 'tracker_bounty', project: 'apollo', dollars: 100 }]
  first = await client.genericGrantRequest(basic, EXCHANGE, { ...login, authorization_details: JSON.stringify(details) })
  assert.deepEqual(sorted(first.authorization_details), sorted(details))
})

await check('openid-client: a narrower token of the same agent', async () => {
  const token = await client.genericGrantRequest(basic, EXCHANGE, {
    subject_token: first.access_token,
    subject_token_type: `${TYPE}access_token`,
    resource,
    scope: 'tracker:issues:read',
    authorization_details: JSON.stringify([{ type: 'tracker_bounty', project: 'apollo', dollars: 5 }]),
  })
  assert.equal(token.authorization_details[0].dollars, 5)
})

await check('openid-client: a wider one is an OAuth error that it can read', () => assert.rejects(
  client.genericGrantRequest(basic, EXCHANGE, {
    subject_token: first.access_token, subject_token_type: `${TYPE}access_token`, resource, scope: 'tracker:issues:write',
  }),
  (err) => err instanceof client.ResponseBodyError && err.error === 'invalid_scope' && err.status === 400))

await check('openid-client: a wrong secret is a challenge that it can read', async () => {
  const wrong = await configured('interop.orchestrator', client.ClientSecretBasic('wrong'))
  await assert.rejects(client.genericGrantRequest(wrong, EXCHANGE, login),
    (err) => err instanceof client.WWWAuthenticateChallengeError && err.status === 401)
})

await check('openid-client: an ID-JAG, whose token_type is N_A', async () => {
  const token = await client.genericGrantRequest(basic, EXCHANGE,
    { ...login, resource: '', audience: 'https://auth.saas.example', requested_token_type: `${TYPE}id-jag` })
  assert.equal(token.token_type, 'n_a')
  assert.equal(token.issued_token_type, `${TYPE}id-jag`)
})

await check('openid-client: a DPoP-bound token, the nonce learnt on the way', async () => {
  const bound = await configured('interop.bound', client.ClientSecretBasic(env('BOUND_SECRET')))
  const DPoP = client.getDPoPHandle(bound, await client.randomDPoPKeyPair())
  const token = await client.genericGrantRequest(bound, EXCHANGE, login, { DPoP })
  assert.equal(token.token_type, 'dpop')
})

await check('openid-client: an agent that must bring a proof gets nothing without', async () => {
  const bound = await configured('interop.bound', client.ClientSecretBasic(env('BOUND_SECRET')))
  await assert.rejects(client.genericGrantRequest(bound, EXCHANGE, login), (err) => err.error === 'invalid_dpop_proof')
})

await check('openid-client: client_credentials', async () => {
  const token = await client.clientCredentialsGrant(basic, { resource, scope: 'tracker:issues:read' })
  assert.equal(token.token_type, 'bearer')
})

await check('openid-client: introspection by the resource server, and revocation', async () => {
  const server = await configured('interop.resource-server', client.ClientSecretBasic(env('RESOURCE_SERVER_SECRET')))
  const live = await client.tokenIntrospection(server, first.access_token)
  assert.equal(live.active, true)
  assert.equal(live.sub, 'user:interop/idp|alice')
  assert.equal(live.act.sub, 'agent:interop/orchestrator')
  await client.tokenRevocation(basic, first.access_token)
  assert.deepEqual(await client.tokenIntrospection(server, first.access_token), { active: false })
})

done()
