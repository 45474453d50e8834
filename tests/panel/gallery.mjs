// Looks at the sample pages that `cargo test --lib gallery -- --ignored` wrote to target/panel-gallery.
// Usage: node gallery.mjs OUT [NAME …]
import { createReadStream, existsSync, mkdirSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { look, open } from "./look.mjs";

const FOLDER = new URL("../../target/panel-gallery/", import.meta.url);
const TYPES = { html: "text/html; charset=utf-8", css: "text/css", js: "text/javascript", svg: "image/svg+xml" };
const POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

const server = createServer((request, response) => {
  if (request.url.endsWith("/events")) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(": open\n\n");
    return;
  }
  const file = new URL(`.${request.url}`, FOLDER);
  if (!existsSync(file) || request.url === "/") { response.writeHead(404).end(); return; }
  response.writeHead(200, { "content-type": TYPES[request.url.split(".").pop()], "content-security-policy": POLICY });
  createReadStream(file).pipe(response);
});
const [out, ...names] = process.argv.slice(2);
mkdirSync(out, { recursive: true });
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const browser = await open();
let bad = 0;
for (const file of readdirSync(FOLDER).filter((it) => it.endsWith(".html"))) {
  const name = file.replace(".html", "");
  if (names.length && !names.includes(name)) continue;
  const { wrong, heaviest } = await look(browser, { url: `http://127.0.0.1:${server.address().port}/${file}`, name, out });
  console.log(name, heaviest, wrong.length ? `\n  ${wrong.join("\n  ")}` : "well");
  bad += wrong.length;
}
await browser.close();
server.closeAllConnections();
server.close();
process.exitCode = bad ? 1 : 0;
