// Node's own HTTP/2 client against the daemon: what it saw goes to stdout as JSON.
//
//     node client.mjs URL [CA]    the daemon serves tests/apps/clients_wsgi.py or clients_asgi.py
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect } from "node:http2";

const [url, ca] = process.argv.slice(2);
const session = connect(url, ca ? { ca: readFileSync(ca) } : {});
session.on("error", (error) => {
  throw error;
});

function ask(path, method = "GET", body = undefined, headers = {}) {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":path": path, ":method": method, ...headers }, { endStream: body === undefined });
    const seen = { chunks: [], hints: [] };
    stream.on("headers", (head) => seen.hints.push(head.link));
    stream.on("response", (head) => (seen.status = head[":status"]));
    stream.on("trailers", (fields) => (seen.trailers = fields));
    stream.on("data", (chunk) => seen.chunks.push(chunk));
    stream.on("end", () => resolve({ ...seen, body: Buffer.concat(seen.chunks) }));
    stream.on("error", reject);
    if (body !== undefined) stream.end(body);
  });
}

const upload = Buffer.from("0123456789abcdef".repeat(1 << 16));
const digest = createHash("sha256").update(upload).digest("hex");
const hello = await ask("/hello");
const hints = await ask("/hints");
const many = await Promise.all(Array.from({ length: 100 }, () => ask("/hello")));
const seen = {
  proto: session.alpnProtocol,
  hello: hello.body.toString(),
  upload: (await ask("/digest", "POST", upload)).body.toString() === digest,
  download: (await ask("/large?3000000")).body.length,
  hints: hints.hints,
  after_hints: hints.status,
  trailer: (await ask("/trailers", "GET", undefined, { te: "trailers" })).trailers["x-digest"],
  parallel: many.filter((one) => one.status === 200).length,
};
await new Promise((resolve) => session.close(resolve));
console.log(JSON.stringify(seen));
