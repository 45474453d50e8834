// Opens a site in Chromium by HTTP/3, and says what it saw as JSON.
//
// Usage: node http3.mjs ADDRESS CHAIN     (CHAIN: the certificate in PEM, which is believed)
// It comes by QUIC at once: what it learns from `Alt-Svc` it believes for known authorities alone.
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
  // What it sends is not wanted: the answer has to come all the same.
  const posted = await fetch("/", { method: "POST", body: new Uint8Array(300_000), signal: AbortSignal.timeout(20_000) });
  const [script] = performance.getEntriesByType("resource");
  const by = [performance.getEntriesByType("navigation")[0], script].map((it) => it.nextHopProtocol);
  return { by, bytes, posted: posted.status };
});

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox", "--disable-gpu", "--enable-quic", `--origin-to-force-quic-on=${host}`,
    "--host-resolver-rules=MAP * 127.0.0.1", `--ignore-certificate-errors-spki-list=${believed}`,
  ],
});
try {
  const page = await (await browser.newContext()).newPage();
  await page.goto(address);
  console.log(JSON.stringify(await seen(page)));
} finally {
  await browser.close();
}
