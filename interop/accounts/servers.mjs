// Two servers on loopback, both npm oidc-provider, unmodified, with its own pages to sign in and to consent: the issuer at which the
// org's people sign in, and a provider of notes whose refresh tokens are rotated and good once, with PKCE required. The notes are a
// resource server that asks the provider itself whether a token is good.

import { once } from 'node:events'
import { createServer } from 'node:http'
import Provider from 'oidc-provider'

async function listen() {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { server, url: `http://127.0.0.1:${server.address().port}` }
}

const quiet = { findAccount: (_, id) => ({ accountId: id, claims: async () => ({ sub: id }) }), cookies: { keys: ['interop'] } }

// startPeople is the org's issuer.
export async function startPeople(redirectURI) {
  const { server, url } = await listen()
  const client = (client_id, client_secret, redirect) => ({
    client_id, client_secret, application_type: 'native', redirect_uris: [redirect], grant_types: ['authorization_code'], response_types: ['code'],
  })
  const provider = new Provider(url, {
    ...quiet,
    clients: [client('app', 'app-secret-0123456789', 'http://127.0.0.1/callback'), client('pages', 'pages-secret-0123456789', redirectURI)],
    conformIdTokenClaims: false,
  })
  server.on('request', provider.callback())
  return { url, close: () => server.close() }
}

// startNotes is the provider. life is how long an access token lives, in seconds.
export async function startNotes(redirectURI, life) {
  const { server, url } = await listen()
  const seen = { asked: 0, refreshes: 0, revocations: 0, secrets: new Set(), grants: new Set() }
  const provider = new Provider(url, {
    ...quiet,
    clients: [{
      client_id: 'obo', client_secret: 'notes-client-secret-0123456789', application_type: 'native', redirect_uris: [redirectURI],
      grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], token_endpoint_auth_method: 'client_secret_basic',
    }],
    scopes: ['offline_access', 'notes.read'],
    pkce: { required: () => true },
    rotateRefreshToken: true, // and what is used a second time ends the whole grant
    issueRefreshToken: async () => true,
    ttl: { AccessToken: life, RefreshToken: 3600, Grant: 3600, Interaction: 3600, Session: 3600 },
    features: { revocation: { enabled: true } },
  })
  provider.on('authorization.accepted', () => { seen.asked++ })
  provider.on('grant.success', (ctx) => {
    const { access_token: access, refresh_token: refresh } = ctx.body
    for (const secret of [access, refresh]) if (secret) seen.secrets.add(secret)
    if (ctx.oidc.params.grant_type === 'refresh_token') seen.refreshes++
    seen.grants.add(ctx.oidc.entities.AccessToken?.grantId ?? ctx.oidc.entities.Grant?.jti)
  })
  provider.on('grant.revoked', () => { seen.revocations++ })

  async function notes(req, res) {
    const token = /^Bearer (.+)$/.exec(req.headers.authorization ?? '')?.[1]
    const found = token && await provider.AccessToken.find(token)
    if (!found) {
      res.writeHead(401, { 'content-type': 'application/json', 'www-authenticate': 'Bearer error="invalid_token"' })
      return res.end('{"error":"invalid_token"}')
    }
    res.writeHead(200, { 'content-type': 'application/json' })
    res.end(JSON.stringify({ owner: found.accountId, notes: [{ id: 1, text: 'buy milk' }] }))
  }

  // A ledger beside the notes, which takes one key.
  function ledger(req, res) {
    const good = req.headers.authorization === 'Bearer ledger-key-0123456789'
    res.writeHead(good ? 200 : 401, { 'content-type': 'application/json' })
    res.end(good ? '{"name":"alice@ledger","lines":[]}' : '{"error":"bad key"}')
  }

  const handle = provider.callback()
  server.on('request', (req, res) => {
    if (req.url.startsWith('/ledger/')) return ledger(req, res)
    if (!req.url.startsWith('/api/')) return handle(req, res)
    notes(req, res).catch((err) => { console.error(err); res.writeHead(500).end() })
  })
  return {
    url, seen, close: () => server.close(),
    // revoke ends every grant, as its user would in the account's settings.
    async revoke() {
      for (const id of seen.grants) {
        await provider.AccessToken.revokeByGrantId(id)
        await provider.RefreshToken.revokeByGrantId(id)
        await (await provider.Grant.find(id))?.destroy()
      }
    },
  }
}

// record is the provider's record, as an org would write it.
export const record = (url) => `name: notes
title: Notes
base_url: ${url}/api
auth:
  oauth: {style: bearer}
oauth:
  authorize: {url: "${url}/auth", params: {prompt: consent}, pkce: S256, issuer: "${url}", issuer_required: true}
  token: {url: "${url}/token", client_auth: basic, body: form}
  refresh: {rotation: single_use}
  revoke: {url: "${url}/token/revocation", client_auth: basic, body: form}
  always: [offline_access]
  scopes: {"notes:read": [notes.read]}
probe: {method: GET, url: /notes, account: /owner}
scopes: {"notes:read": Read your notes.}
tools:
  - name: list
    description: List notes.
    method: GET
    path: /notes
    risk: read
    scopes: ["notes:read"]
    arguments: {type: object, additionalProperties: false}
`

// ledgerRecord is that of the ledger, whose users have keys of their own.
export const ledgerRecord = (url) => `name: ledger
title: Ledger
base_url: ${url}/ledger
auth:
  api_key: {style: bearer}
probe: {method: GET, url: /me, account: /name}
scopes: {"ledger:read": Read your ledger.}
tools:
  - name: lines
    description: List the lines.
    method: GET
    path: /lines
    risk: read
    scopes: ["ledger:read"]
    arguments: {type: object, additionalProperties: false}
`
