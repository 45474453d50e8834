// Opens a site in Chromium by HTTP/3, and says what it saw as JSON.
//
// Usage: node http3.mjs ADDRESS CHAIN     (CHAIN: the certificate in PEM, which is believed)
// The first visit is by QUIC whatever the browser knows, the second one as it finds out by itself from `Alt-Svc`.
import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [address, chain] = process.argv.slice(2);
const { host } = new URL(address);
const key = new X509Certificate(readFileSync(chain)).publicKey.export({ type: "spki", format: "der" });
const believed = createHash("sha256").update(key).digest("base64");

/** How the page came, and what a script gets and sends on it. */
const seen = (page) => page.evaluate(async () => {
  const answer = await fetch("/big.bin", { cache: "no-store" });
  const bytes = (await answer.arrayBuffer()).byteLength;
  const posted = await fetch("/", { method: "POST", body: new Uint8Array(300_000) });
  const [script] = performance.getEntriesByType("resource");
  const by = [performance.getEntriesByType("navigation")[0], script].map((it) => it.nextHopProtocol);
  return { by, bytes, posted: posted.status };
});

const found = {};
for (const [name, more] of [["forced", [`--origin-to-force-quic-on=${host}`]], ["told", []]]) {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--enable-quic", "--host-resolver-rules=MAP * 127.0.0.1", `--ignore-certificate-errors-spki-list=${believed}`, ...more],
  });
  try {
    const page = await (await browser.newContext()).newPage();
    await page.goto(address);
    // A browser that was told tries both ways, and takes the new one once that has proved itself.
    for (let tries = 0; tries < 100 && (await seen(page)).by[0] !== "h3"; tries += 1) {
      await page.waitForTimeout(100);
      await page.goto(address);
    }
    found[name] = await seen(page);
  } finally {
    await browser.close();
  }
}
console.log(JSON.stringify(found));
