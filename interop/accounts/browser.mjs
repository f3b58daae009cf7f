// A browser, Debian's Chromium, driven by playwright-core; and what a person does in it.

import { chromium } from 'playwright-core'

export const launch = () => chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update',
    '--disable-sync'],
})

// signInAt fills oidc-provider's own page to sign in, and its page to consent when it comes.
export async function signInAt(page, name) {
  await page.fill('input[name=login]', name)
  await page.fill('input[name=password]', 'any')
  await page.click('button[type=submit]')
}

export const consent = (page) => page.click('button[type=submit]')

// press goes by the keyboard alone: Tab until what has the focus has this text, then Enter.
export async function press(page, text) {
  for (let i = 0; i < 30; i++) {
    await page.keyboard.press('Tab')
    const focused = await page.evaluate(() => document.activeElement?.textContent?.trim() ?? '')
    if (focused === text) return page.keyboard.press('Enter')
  }
  throw new Error(`the keyboard does not reach "${text}" on ${page.url()}`)
}
