// An identity provider on loopback, as an org would trust one: npm oidc-provider, unmodified. Everybody who comes is alice.
// It prints its issuer and serves until it is ended.

import { once } from 'node:events'
import { createServer } from 'node:http'
import Provider from 'oidc-provider'

const server = createServer()
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const issuer = `http://127.0.0.1:${server.address().port}`

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'app',
    client_secret: 'app-secret',
    application_type: 'native', // a redirect to loopback
    redirect_uris: ['http://127.0.0.1/callback'],
    grant_types: ['authorization_code'],
    response_types: ['code'],
  }],
  claims: { openid: ['sub', 'groups', 'tenant'] },
  conformIdTokenClaims: false, // an org's claims are in the ID token
  features: { devInteractions: { enabled: false } },
  interactions: { url: (_, interaction) => `/sign-in/${interaction.uid}` },
  findAccount: (_, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, groups: ['engineering'], tenant: 'interop' }),
  }),
})

// signIn stands in for a login page and a consent screen.
async function signIn(req, res) {
  const { prompt, params, session, grantId } = await provider.interactionDetails(req, res)
  if (prompt.name === 'login') {
    return provider.interactionFinished(req, res, { login: { accountId: 'alice' } })
  }
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id })
  grant.addOIDCScope('openid')
  return provider.interactionFinished(req, res, { consent: { grantId: await grant.save() } })
}

const handle = provider.callback()
server.on('request', (req, res) => {
  if (!req.url.startsWith('/sign-in/')) return handle(req, res)
  signIn(req, res).catch((err) => {
    console.error(err)
    res.writeHead(500).end()
  })
})
console.log(issuer)
