// Signs alice in at the identity provider with openid-client, by the authorization code flow with PKCE, and prints her ID token.

import * as oidc from 'openid-client'
import { env } from './check.mjs'

const config = await oidc.discovery(new URL(env('IDP_ISSUER')), 'app', 'app-secret', undefined,
  { execute: [oidc.allowInsecureRequests] })

const verifier = oidc.randomPKCECodeVerifier()
const state = oidc.randomState()
let at = oidc.buildAuthorizationUrl(config, {
  redirect_uri: 'http://127.0.0.1/callback',
  scope: 'openid',
  state,
  code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
  code_challenge_method: 'S256',
})

// A browser: it follows redirects and keeps cookies.
const cookies = new Map()
for (let hops = 0; at.pathname !== '/callback'; hops++) {
  if (hops === 20) throw new Error('the identity provider redirects for ever')
  const response = await fetch(at, {
    redirect: 'manual',
    headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
  })
  for (const cookie of response.headers.getSetCookie()) {
    const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie)
    if (value) cookies.set(name, value)
    else cookies.delete(name)
  }
  const location = response.headers.get('location')
  if (!location) throw new Error(`${at} answered ${response.status}`)
  at = new URL(location, at)
}
const tokens = await oidc.authorizationCodeGrant(config, at, { pkceCodeVerifier: verifier, expectedState: state })
console.log(tokens.id_token)
