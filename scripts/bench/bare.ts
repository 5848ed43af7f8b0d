/**
 * What any proxy on Node must do, and nothing else: read, parse, ask the upstream by undici, answer; a stream's bytes are piped
 * through. Subject (a) of the bench. usage: node bare.ts <upstream's URL>
 */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { Pool } from "undici"

const pool = new Pool(process.argv[2] ?? "", { connections: 2048, pipelining: 1 })

const server = createServer((request, response) => {
  const chunks: Array<Buffer> = []
  request.on("data", (chunk: Buffer) => chunks.push(chunk))
  request.on("end", async () => {
    try {
      const body = JSON.parse(Buffer.concat(chunks).toString("utf8"))
      const answer = await pool.request({
        method: "POST",
        path: "/v1/chat/completions",
        headers: { "content-type": "application/json", authorization: "Bearer sk-bench" },
        body: JSON.stringify(body)
      })
      const type = String(answer.headers["content-type"])
      if (body.stream === true) {
        response.writeHead(answer.statusCode, { "content-type": type })
        return void answer.body.pipe(response)
      }
      const bytes = Buffer.from(await answer.body.arrayBuffer())
      response.writeHead(answer.statusCode, { "content-type": type, "content-length": bytes.length })
      response.end(bytes)
    } catch (error) {
      response.writeHead(502).end(String(error))
    }
  })
})

process.on("disconnect", () => process.exit())
server.keepAliveTimeout = 60_000
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port))
