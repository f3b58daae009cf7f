// One line for each check, and an exit code that says whether all of them held.

let failed = 0

export async function check(name, f) {
  try {
    await f()
    console.log(`ok    ${name}`)
  } catch (err) {
    failed++
    console.log(`FAIL  ${name}`)
    console.log(String(err?.stack ?? err).replace(/^/gm, '      '))
    if (err?.cause) console.log(`      cause: ${JSON.stringify(err.cause)?.slice(0, 400)}`)
  }
}

export function done() {
  process.exitCode = failed ? 1 : 0
  if (failed) console.log(`${failed} checks failed`)
}

// env is a setting that interop/run gives.
export function env(name) {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set: interop/run sets it`)
  return value
}
