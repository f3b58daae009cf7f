// The life of a connected account, with software of others at every end: oidc-provider as the issuer of the people and as the
// provider of notes, Chromium as the browser, grpc-js as the agent; over two executors on one PostgreSQL.

import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { check, done, env } from '../check.mjs'
import { consent, launch, press, signInAt } from './browser.mjs'
import { client } from './rpc.mjs'
import { ledgerRecord, record, startNotes, startPeople } from './servers.mjs'

const LIFE = 25 // of an access token, in seconds; the executor stops 10 s before its end
const work = env('WORK')
const shots = process.env.SCREENSHOTS // a folder, when they are wanted
// obo runs the command; the servers of this process go on meanwhile.
const obo = async (...args) => (await promisify(execFile)(env('OBO'), args, { encoding: 'utf8', env: process.env, timeout: 60_000 })).stdout

const redirectURI = `${env('OBO_EXECUTOR_HTTP')}/connect/callback`
const people = await startPeople(redirectURI)
const notes = await startNotes(redirectURI, LIFE)
const browser = await launch()
const texts = [] // of all pages that were shown: no secret may be in one

// The org, its two clients, and its agent's secret.
process.env.PEOPLE_ISSUER = people.url
mkdirSync(join(work, 'org/providers'), { recursive: true })
writeFileSync(join(work, 'org/providers/notes.yaml'), record(notes.url))
writeFileSync(join(work, 'org/providers/ledger.yaml'), ledgerRecord(notes.url))
writeFileSync(join(work, 'pages.secret'), 'pages-secret-0123456789', { mode: 0o600 })
writeFileSync(join(work, 'notes.secret'), 'notes-client-secret-0123456789', { mode: 0o600 })
await obo('apply', '-f', join(work, 'org'), '--yes')
process.env.OBO_ORG = 'accounts'
const secret = (await obo('agents', 'secret', 'accounts', 'assistant')).trim()
await obo('connect', 'client', 'set', 'issuer/people', '--client-id', 'pages', '--secret-file', join(work, 'pages.secret'), '--setting', `issuer=${people.url}`)
await obo('connect', 'client', 'set', 'notes', '--client-id', 'obo', '--secret-file', join(work, 'notes.secret'))

// idToken signs somebody in to the agent's application, in a browser of their own.
async function idToken(name) {
  const context = await browser.newContext()
  const page = await context.newPage()
  const verifier = 'v'.repeat(64)
  const challenge = Buffer.from(await crypto.subtle.digest('SHA-256', Buffer.from(verifier))).toString('base64url')
  let answer
  await page.route('http://127.0.0.1/callback*', (route) => { answer = new URL(route.request().url()); return route.fulfill({ body: 'done' }) })
  await page.goto(`${people.url}/auth?${new URLSearchParams({
    response_type: 'code', client_id: 'app', redirect_uri: 'http://127.0.0.1/callback', scope: 'openid', code_challenge: challenge,
    code_challenge_method: 'S256',
  })}`)
  await signInAt(page, name)
  await consent(page)
  await page.waitForURL('http://127.0.0.1/callback*')
  const response = await fetch(`${people.url}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from('app:app-secret-0123456789').toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'authorization_code', code: answer.searchParams.get('code'), redirect_uri: 'http://127.0.0.1/callback', code_verifier: verifier }),
  })
  await context.close()
  return (await response.json()).id_token
}

let token
async function exchange(subject) {
  const response = await fetch(`${env('OBO_ISSUER')}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`accounts.assistant:${secret}`).toString('base64')}` },
    body: new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange', subject_token: subject,
      subject_token_type: 'urn:ietf:params:oauth:token-type:id_token', resource: env('OBO_EXECUTOR_AUDIENCE'), scope: 'notes:read ledger:read',
    }),
  })
  const body = await response.json()
  assert.equal(response.status, 200, JSON.stringify(body))
  return body.access_token
}

const executors = [env('OBO_EXECUTOR_GRPC'), env('SECOND_EXECUTOR_GRPC')]
const agents = executors.map((at) => client('obo/v1/executor.proto', 'ExecutorService', at, () => token))
const connect = client('obo/v1/connect.proto', 'ConnectService', executors[0], () => token)
const call = async (agent) => (await agents[agent].Execute({ tool: 'notes.list' }))
const alice = await idToken('alice')
token = await exchange(alice)

// shown remembers a page, for a person who looks at the docs and for the search for secrets.
async function shown(page, name) {
  texts.push(await page.content())
  if (!shots) return
  await page.setViewportSize({ width: 720, height: 560 })
  await page.screenshot({ path: join(shots, `${name}.png`) })
  const tree = (await page.locator('body').ariaSnapshot()).split('\n').filter((line) => !/^\s*- \/url:/.test(line)) // links are random
  writeFileSync(join(shots, `${name}.txt`), tree.join('\n') + '\n')
}

// connected goes through the pages as alice, by the keyboard alone.
async function connected(url, name) {
  const context = await browser.newContext()
  const page = await context.newPage()
  await page.goto(url)
  assert.equal(await page.title(), 'Connect your Notes account')
  assert.match(await page.locator('body').ariaSnapshot(), /- main:\n[\s\S]*- heading "Connect your Notes account" \[level=1\][\s\S]*- link "Sign in to accounts"/)
  await shown(page, `${name}-1-sign-in`)
  await press(page, 'Sign in to accounts')
  await page.waitForSelector('input[name=login]')
  await signInAt(page, 'alice')
  await consent(page)
  await page.waitForURL(`${env('OBO_EXECUTOR_HTTP')}/connect/*`)
  assert.match(await page.locator('body').ariaSnapshot(), /- heading "What will be allowed" \[level=2\]\s*- list:\s*- listitem: Read your notes\.[\s\S]*- link "Continue to Notes"/)
  await shown(page, `${name}-2-grant`)
  await press(page, 'Continue to Notes')
  await page.waitForSelector('input[name=login]')
  await signInAt(page, 'alice-at-notes')
  await consent(page)
  await page.waitForURL(`${env('OBO_EXECUTOR_HTTP')}/connect/*`)
  assert.equal(await page.title(), 'Your Notes account is connected')
  assert.match(await page.locator('body').ariaSnapshot(), /- status: You can close this page/)
  await shown(page, `${name}-3-done`)
  await context.close()
}

let url
await check('accounts: a call without an account offers a link', async () => {
  const { error } = await call(0)
  assert.equal(error?.kind, 'no_connection')
  assert.match(error.reconnectUrl, /^http:\/\/127\.0\.0\.1:\d+\/connect\/accounts\./)
  const { authorization } = await connect.Authorize({ tool: 'notes.list' })
  assert.equal(authorization.status, 'pending')
  url = authorization
})

await check('accounts: whoever is not the user goes nowhere, and the provider hears nothing', async () => {
  const context = await browser.newContext()
  const page = await context.newPage()
  await page.goto(url.url)
  await page.click('text=Sign in to accounts')
  await signInAt(page, 'mallory')
  const answered = page.waitForResponse((r) => r.url().startsWith(redirectURI))
  await consent(page)
  assert.equal((await answered).status(), 403)
  assert.equal(await page.title(), 'This link is for somebody else')
  await shown(page, 'refused')
  await page.goto(`${url.url}/grant`) // and there is no way around it
  assert.match(await page.title(), /This step cannot be done here/)
  await shown(page, 'step')
  assert.equal(notes.seen.asked, 0)
  await context.close()
  const trail = await obo('audit', 'list', '--server', 'executor', '--output', 'json')
  assert.match(trail, /NOT_THE_USER/)
  assert.match(trail, /user:accounts\/people\|mallory/)
})

await check('accounts: the user connects in a browser, by keyboard, with PKCE and iss; the waiting agent hears of it', async () => {
  const waiting = connect.AwaitAuthorization({ id: url.id, wait: { seconds: 60 } })
  await connected(url.url, 'connect')
  assert.equal((await waiting).authorization.status, 'active')
})

await check('accounts: a call', async () => {
  for (const agent of [0, 1]) {
    const { result, error } = await call(agent)
    assert.ok(result, JSON.stringify(error))
    assert.equal(JSON.parse(result.data).owner, 'alice-at-notes')
  }
  assert.equal(notes.seen.refreshes, 0)
})

await check('accounts: the access token expires, and a call refreshes it', async () => {
  await sleep((LIFE - 9) * 1000)
  const { result, error } = await call(0)
  assert.ok(result, JSON.stringify(error))
  assert.equal(notes.seen.refreshes, 1)
})

await check('accounts: 50 callers over 2 executors refresh it once, and none fails', async () => {
  await sleep((LIFE - 9) * 1000)
  const outcomes = await Promise.all(Array.from({ length: 50 }, (_, i) => call(i % 2)))
  assert.deepEqual(outcomes.filter((o) => !o.result).map((o) => o.error), [])
  assert.equal(notes.seen.refreshes, 2)
})

await check('accounts: revoked at the provider, both executors say so, with a link; after it the same call works', async () => {
  await notes.revoke()
  let link
  for (const agent of [0, 1]) {
    const { error } = await call(agent)
    assert.equal(error?.kind, 'revoked')
    link = error.reconnectUrl
    assert.ok(link)
  }
  assert.match(await obo('connect', 'list'), /revoked/)
  await connected(link, 'reconnect')
  const { result, error } = await call(1)
  assert.ok(result, JSON.stringify(error))
})

await check('accounts: deleting a connection revokes its grant at the provider', async () => {
  const [{ id, status }] = JSON.parse(await obo('connect', 'list', '--output', 'json')).connections
  assert.equal(status, 'active')
  const before = notes.seen.revocations
  assert.match(await obo('connect', 'delete', id), /its grant was revoked at the provider/)
  assert.ok(notes.seen.revocations > before)
})

await check('accounts: a user enters a key of their own, by keyboard; a wrong one is refused, and none comes back', async () => {
  await obo('connect', 'theme', 'set', '--name', 'Accounts, Inc.', '--accent', '#7a1f3d')
  const { authorization } = await connect.Authorize({ tool: 'ledger.lines' })
  const context = await browser.newContext()
  const page = await context.newPage()
  await page.goto(authorization.url)
  await press(page, 'Sign in to Accounts, Inc.')
  await signInAt(page, 'alice')
  await consent(page)
  await page.waitForURL(`${env('OBO_EXECUTOR_HTTP')}/connect/*`)
  assert.match(await page.locator('body').ariaSnapshot(), /- textbox "API key"[\s\S]*- button "Store it"/)
  const color = await page.evaluate(() => getComputedStyle(document.querySelector('button')).backgroundColor)
  assert.equal(color, 'rgb(122, 31, 61)')
  await shown(page, 'key-1-enter')
  await page.getByLabel('API key').fill('wrong-key-0123456789')
  await press(page, 'Store it')
  await page.waitForSelector('[role=alert]')
  assert.match(await page.locator('[role=alert]').textContent(), /Ledger does not accept it/)
  assert.equal(await page.getByLabel('API key').inputValue(), '')
  await shown(page, 'key-2-refused')
  await page.getByLabel('API key').fill('ledger-key-0123456789')
  await press(page, 'Store it')
  await page.waitForSelector('[role=status]')
  assert.equal(await page.title(), 'Your Ledger account is connected')
  await shown(page, 'key-3-done')
  await context.close()
  const { result, error } = await agents[1].Execute({ tool: 'ledger.lines' })
  assert.ok(result, JSON.stringify(error))
})

await check('accounts: a user who says no is heard, and a link is good once', async () => {
  const { authorization } = await connect.Authorize({ tool: 'notes.list' })
  const context = await browser.newContext()
  const page = await context.newPage()
  await page.goto(authorization.url)
  await press(page, 'Sign in to Accounts, Inc.')
  await signInAt(page, 'alice')
  await consent(page)
  await press(page, 'Continue to Notes')
  await page.waitForSelector('input[name=login]')
  await page.click('text=Cancel')
  await page.waitForURL(`${env('OBO_EXECUTOR_HTTP')}/connect/*`)
  assert.match(await page.locator('[role=alert]').textContent(), /Access was denied at Notes/)
  await shown(page, 'denied')
  assert.equal((await connect.AwaitAuthorization({ id: authorization.id, wait: { seconds: 5 } })).authorization.status, 'denied')
  const other = await (await browser.newContext()).newPage()
  await other.goto(authorization.url)
  assert.equal(await other.title(), 'This link is not good')
  await shown(other, 'not-good')
  await other.goto(`${redirectURI}?state=accounts.${authorization.id}.x&code=y`)
  assert.equal(await other.title(), 'This link is not good')
  await context.close()
})

// pending is a page of alice's that waits for her to go on to the provider.
async function pending() {
  const { authorization } = await connect.Authorize({ tool: 'notes.list' })
  const page = await (await browser.newContext()).newPage()
  await page.goto(authorization.url)
  await page.click('a.button')
  await signInAt(page, 'alice')
  await consent(page)
  await page.waitForURL(authorization.url)
  return page
}

const sql = (text) => promisify(execFile)('psql', [env('STORE'), '-qc', `SET obo.org = 'accounts'; ${text}`])

await check('accounts: what cannot be done has a page that says why, and what to do', async () => {
  const setClient = (name, id, file, ...more) => obo('connect', 'client', 'set', name, '--client-id', id, '--secret-file', join(work, file), ...more)
  const titled = async (page, title, name) => {
    await page.waitForURL(`${env('OBO_EXECUTOR_HTTP')}/connect/**`)
    assert.equal(await page.title(), title)
    await shown(page, name)
    await page.context().close()
  }
  const { authorization } = await connect.Authorize({ tool: 'notes.list' })
  const open = async () => {
    const page = await (await browser.newContext()).newPage()
    await page.goto(authorization.url)
    await page.click('a.button')
    return page
  }
  let page = await open()
  await page.click('text=Cancel')
  await titled(page, 'The sign-in was not accepted', 'not-accepted')

  await setClient('issuer/people', 'pages', 'pages.secret', '--setting', 'issuer=http://127.0.0.1:1')
  await titled(await open(), 'This does not work now', 'not-now')
  await obo('connect', 'client', 'delete', 'issuer/people')
  await titled(await open(), 'Your organization has not set this up', 'not-set-up')
  await setClient('issuer/people', 'pages', 'pages.secret', '--setting', `issuer=${people.url}`)

  writeFileSync(join(work, 'wrong.secret'), 'another-secret-0123456789', { mode: 0o600 })
  await setClient('notes', 'obo', 'wrong.secret')
  page = await pending()
  await page.click('a.button')
  await signInAt(page, 'alice-at-notes')
  await consent(page)
  await page.waitForURL(`${env('OBO_EXECUTOR_HTTP')}/connect/**`)
  assert.match(await page.locator('[role=alert]').textContent(), /What your organization has set up for Notes is not in order/)
  await titled(page, 'Your Notes account is not connected', 'failed')
  await setClient('notes', 'obo', 'notes.secret')

  page = await pending()
  await sql(`UPDATE authorizations SET expires = now() - interval '1 minute' WHERE status = 'pending'`) // time passes
  await page.reload()
  await titled(page, 'The link has expired', 'expired')

  page = await pending()
  await sql(`UPDATE authorizations SET status = 'active', reason = 'notes.write' WHERE status = 'pending'`) // a provider that lets its user choose
  await page.reload()
  await titled(page, 'Your Notes account is connected', 'granted-less')
})

await check('accounts: no secret is in a page, a URL, a log or a database', () => {
  const secrets = [...notes.seen.secrets, 'pages-secret-0123456789', 'notes-client-secret-0123456789', 'ledger-key-0123456789', secret]
  assert.ok(secrets.length > 8)
  const files = readdirSync(env('LOGS')).map((name) => join(env('LOGS'), name))
  const haystack = [...texts, ...files.map((name) => readFileSync(name, 'utf8')), env('DUMP') && execFileSync('bash', ['-c', env('DUMP')], { encoding: 'latin1', maxBuffer: 1 << 28 })]
  for (const s of secrets) for (const h of haystack) assert.ok(!h.includes(s), 'a secret is where everybody can read it')
})

await browser.close()
people.close()
notes.close()
done()
process.exit()
