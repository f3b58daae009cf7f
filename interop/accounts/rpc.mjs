// gRPC by @grpc/grpc-js, from the proto files: a client that nobody here wrote.

import { fileURLToPath } from 'node:url'
import grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

const includeDirs = [process.env.OBO_PROTO ?? fileURLToPath(new URL('../../proto', import.meta.url))]
const load = (file) => grpc.loadPackageDefinition(loadSync(file, { includeDirs, longs: Number, defaults: false, oneofs: true })).obo.v1

// client calls a service with a bearer token; each method answers with a promise.
export function client(file, service, address, token) {
  const stub = new (load(file)[service])(address, grpc.credentials.createInsecure())
  return new Proxy({}, {
    get: (_, method) => (request) => {
      const metadata = new grpc.Metadata()
      metadata.set('authorization', `Bearer ${token()}`)
      return new Promise((resolve, reject) => {
        stub[method](request, metadata, { deadline: Date.now() + 90_000 }, (err, response) => (err ? reject(err) : resolve(response)))
      })
    },
  })
}
