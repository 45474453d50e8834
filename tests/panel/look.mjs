// Looks at pages in a real browser: screenshots, axe, weight, policy violations, console errors, width.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { gzipSync } from "node:zlib";
import { chromium } from "playwright-core";
import { picture } from "./picture.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const WEIGHT_MAX = 50_000;
// A third argument `quick` looks at one view: for the acts, not for the looks.
const ALL = [[1440, 900, "light"], [1440, 900, "dark"], [390, 844, "light"], [390, 844, "dark"]];
const VIEWS = process.argv.includes("quick") ? ALL.slice(0, 1) : ALL;

export const open = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP *.localhost 127.0.0.1"],
});

/** Bytes as sent when compressed: an answer that is not is counted as if it were, which any proxy does. */
const weigh = async (response) => {
  const body = await response.body().catch(() => Buffer.alloc(0));
  return gzipSync(body, { level: 9 }).length;
};

/** Visits `url` in all views and gives back the sentences about what is wrong. `state` carries the cookies; `opened`: with all that can be unfolded. */
export const look = async (browser, { url, name, out, state, status = 200, opened = false }) => {
  const wrong = [];
  let heaviest = 0;
  for (const [width, height, scheme] of VIEWS) {
    const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, reducedMotion: "reduce", storageState: state, bypassCSP: false });
    const page = await context.newPage();
    const at = `${name} ${width} ${scheme}`;
    const say = (text) => wrong.push(`${at}: ${text}`);
    page.on("console", (message) => {
      if (message.type() !== "error") return;
      // A page that is meant to be an error is one in the console too.
      if (status >= 400 && message.text().includes(`status of ${status}`)) return;
      say(`console: ${message.text()}`);
    });
    page.on("pageerror", (error) => say(`script: ${error}`));
    const answers = [];
    page.on("response", (answer) => answers.push(answer));
    const answer = await page.goto(url, { waitUntil: "load" });
    if (opened) await page.evaluate(() => document.querySelectorAll("details").forEach((it) => { it.open = true; }));
    if (answer.status() !== status) say(`status ${answer.status()}, not ${status}`);
    const counted = answers.filter((it) => !(it.headers()["content-type"] ?? "").startsWith("text/event-stream"));
    const weight = (await Promise.all(counted.map(weigh))).reduce((sum, it) => sum + it, 0);
    heaviest = Math.max(heaviest, weight);
    if (weight > WEIGHT_MAX) say(`weighs ${weight} bytes`);
    await picture(page, { path: `${out}/${name}-${width}-${scheme}.png`, fullPage: true });
    // Through the debugger, so that the page's own policy does not forbid axe.
    await page.evaluate(AXE);
    const violations = await page.evaluate(async (values) => {
      const result = await axe.run(document, { runOnly: { type: "tag", values } });
      return result.violations.map((it) => `${it.id}: ${it.nodes.slice(0, 3).map((node) => node.target.join(" ")).join(", ")}`);
    }, TAGS);
    violations.forEach((it) => say(`axe ${it}`));
    const wide = await page.evaluate(() => {
      const width = document.documentElement.clientWidth;
      return [...document.querySelectorAll("body *")]
        .filter((it) => !it.closest(".scroll, .tabs, .log, dialog, [popover], .vh, svg, thead, .code, .sprite"))
        .filter((it) => { const box = it.getBoundingClientRect(); return box.width > 0 && (box.right > width + 1 || box.left < -1); })
        .slice(0, 3).map((it) => `${it.tagName}.${it.className}`);
    });
    wide.forEach((it) => say(`wider than the window: ${it}`));
    await context.close();
  }
  return { wrong, heaviest };
};
