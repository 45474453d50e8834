// Opens a WebSocket in Chromium on a page that came by HTTP/2, and says what it saw as JSON.
//
// Usage: node websocket.mjs ADDRESS CHAIN PORT     (CHAIN: the certificate in PEM, which is believed; PORT: where the upstream of the
// site's path `/chat` is to listen, which this plays)
import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const [address, chain, port] = process.argv.slice(2);
const key = new X509Certificate(readFileSync(chain)).publicKey.export({ type: "spki", format: "der" });
const believed = createHash("sha256").update(key).digest("base64");

/** A frame of a few bytes, as servers send them (RFC 6455 §5.2). */
const frame = (kind, bytes) => Buffer.concat([Buffer.from([0x80 | kind, bytes.length]), bytes]);

/** Says how it was asked, gives each text back in upper case, and ends as the visitor does. */
const upstream = createServer().on("upgrade", (request, socket, head) => {
  const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
  socket.on("error", () => {});
  socket.write([
    "HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
    `Sec-WebSocket-Accept: ${accept.digest("base64")}`,
    `Sec-WebSocket-Protocol: ${request.headers["sec-websocket-protocol"].split(", ").pop()}`, "", "",
  ].join("\r\n"));
  socket.write(frame(1, Buffer.from(request.headers.via)));
  let came = head;
  socket.on("data", (bytes) => {
    came = Buffer.concat([came, bytes]);
    while (came.length >= 6 && came.length >= 6 + (came[1] & 127)) {
      const [kind, length, mask] = [came[0] & 15, came[1] & 127, came.subarray(2, 6)];
      const said = Buffer.from(came.subarray(6, 6 + length)).map((byte, at) => byte ^ mask[at % 4]);
      came = came.subarray(6 + length);
      if (kind === 1) socket.write(frame(1, Buffer.from(said.toString().toUpperCase())));
      if (kind === 8) socket.end(frame(8, said));
    }
  });
});
await new Promise((listens) => upstream.listen(Number(port), "127.0.0.1", listens));

/** How the page came, and what a WebSocket of it says; and one where none is. */
const seen = (page) => page.evaluate(async () => {
  const told = (socket, name) => new Promise((done, failed) => {
    socket.addEventListener(name, done, { once: true });
    if (name !== "error") socket.addEventListener("error", () => failed(new Error(`no ${name}`)), { once: true });
  });
  const of = (path) => location.origin.replace("https", "wss") + path;
  const socket = new WebSocket(of("/chat?a=b"), ["chat.v1", "chat.v2"]);
  const via = (await told(socket, "message")).data;
  const answered = told(socket, "message");
  socket.send("hello");
  const echo = (await answered).data;
  const closed = told(socket, "close");
  socket.close(4001, "done");
  const { code } = await closed;
  const none = (await told(new WebSocket(of("/")), "error")).type;
  const page = performance.getEntriesByType("navigation")[0].nextHopProtocol;
  return { page, via, protocol: socket.protocol, echo, code, none };
});

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--host-resolver-rules=MAP * 127.0.0.1",
    `--ignore-certificate-errors-spki-list=${believed}`,
  ],
});
try {
  const page = await (await browser.newContext()).newPage();
  await page.goto(address);
  console.log(JSON.stringify(await seen(page)));
} finally {
  await browser.close();
  upstream.close();
  upstream.closeAllConnections();
}
