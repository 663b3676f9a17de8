// Node undici over HTTP/1.1 and HTTP/2. Run by `run`, which sets CA, TOKEN and URL.

import assert from "node:assert";
import { readFileSync } from "node:fs";
import { Readable } from "node:stream";
import { Agent, request } from "undici";

const { URL: url, TOKEN: token, CA } = process.env;
const good = { "verification-token": token, "content-type": "application/json" };
const wrong = { "verification-token": "wrong-0123456789abcdef" };
let count = 0;

async function check(dispatcher, options, status, body) {
  const answer = await request(options.url ?? url, { dispatcher, method: "POST", ...options });
  const text = await answer.body.text();
  // Guesses from one address may be limited.
  const right = answer.statusCode === status || (status === 401 && answer.statusCode === 429);
  assert(right, `${answer.statusCode} in place of ${status}: ${text}`);
  if (body) assert.equal(text.trim(), body);
  count += 1;
}

function* pieces(size) {
  for (; size > 0; size -= 50_000) yield Buffer.alloc(Math.min(size, 50_000), "x");
}

for (const allowH2 of [false, true]) {
  const dispatcher = new Agent({ allowH2, connect: { ca: readFileSync(CA) }, connections: 16 });
  for (const size of [0, 1, 1000, 70_000, 5_000_000]) {
    await check(dispatcher, { headers: good, body: Buffer.alloc(size, "x") }, 200, "stored");
    await check(dispatcher, { headers: good, body: Readable.from(pieces(size)) }, 200, "stored");
  }
  for (const headers of [wrong, {}]) {
    await check(dispatcher, { headers, body: "{}" }, 401);
    await check(dispatcher, { headers, body: Buffer.alloc(40_000, "x") }, 401);
  }
  const challenge = { "verification-token": token, challenge: "hello" };
  await check(dispatcher, { body: JSON.stringify(challenge) }, 200, "hello");
  await check(dispatcher, { method: "GET", url: `${url}?${new URLSearchParams(challenge)}` }, 200, "hello");
  for (let turn = 0; turn < 100; turn += 1) {
    await check(dispatcher, { headers: good, body: '{"Meta":{}}' }, 200, "stored");
  }
  const atOnce = Array.from({ length: 50 }, () =>
    check(dispatcher, { headers: good, body: Buffer.alloc(20_000, "x") }, 200, "stored"));
  await Promise.all(atOnce);
  await dispatcher.close();
}
console.log(`${count} requests as they should be`);
