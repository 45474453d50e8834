// Opens pages of a deployed site in a real browser and fails when a page logs an error or a request of it fails.
//
// usage: node look.mjs BASE_URL FOLDER NAME CHROMIUM PATH…
// Writes FOLDER/NAME-N.png for each path. On a page with the search of MkDocs' material theme it searches too, since that needs
// a script, a worker and the index to work together. Run it in the folder that has node_modules.
import { createRequire } from "node:module";
import { join } from "node:path";

import { picture } from "../panel/picture.mjs";

const { chromium } = createRequire(join(process.cwd(), "package.json"))("playwright-core");
const [base, folder, name, executablePath, ...paths] = process.argv.slice(2);
const wrong = [];

/** Whether a console message is only the browser's note that the page itself has the status it should have. */
const isOwnStatus = (message, url, status) => status >= 400 && message.location().url === url && message.text().includes(`status of ${status}`);

/** Searches as a reader does: opens the search, waits until it is ready, types. */
const search = async (page) => {
  await page.click("[data-md-component=search-query]");
  // The script hears of letters only after the index has arrived, and then says so here.
  await page.waitForFunction(() => /type to start/i.test(document.querySelector(".md-search-result__meta")?.textContent ?? ""));
  await page.locator("[data-md-component=search-query]").pressSequentially("lantern", { delay: 30 });
  await page.waitForSelector("[data-md-component=search-result] .md-search-result__item");
};

const look = async (browser, path, at) => {
  const status = path.includes("no-such-page") ? 404 : 200;
  const url = new URL(path, base).href;
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce" });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  const say = (text) => wrong.push(`${path}: ${text}`);
  let requests = 0;
  page.on("console", (message) => {
    if (message.type() === "error" && !isOwnStatus(message, url, status)) say(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => say(`script: ${error}`));
  page.on("request", (request) => {
    requests += 1;
    if (new URL(request.url()).host !== new URL(base).host && !request.url().startsWith("data:")) say(`asks elsewhere: ${request.url()}`);
  });
  // A page that is left while it still loads gives up its requests; all are awaited below, so none is.
  page.on("requestfailed", (request) => say(`failed: ${request.url()} ${request.failure()?.errorText}`));
  page.on("response", (answer) => {
    if (answer.status() >= 400 && answer.url() !== url) say(`${answer.status()}: ${answer.url()}`);
  });
  const answer = await page.goto(url, { waitUntil: "networkidle" });
  if (answer.status() !== status) say(`has status ${answer.status()} instead of ${status}`);
  const broken = await page.evaluate(() => [...document.images].filter((it) => !it.complete || it.naturalWidth === 0).map((it) => it.src));
  broken.forEach((it) => say(`picture not shown: ${it}`));
  const styled = await page.evaluate(() => [...document.styleSheets].some((it) => it.cssRules.length > 0));
  if (!styled) say("has no style");
  if (await page.$("[data-md-component=search-query]")) await search(page).catch(() => say("the search finds nothing"));
  await picture(page, { path: join(folder, `${name}-${at}.png`) });
  await context.close();
  return requests;
};

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"], timeout: 60_000 });
try {
  let requests = 0;
  for (const [at, path] of paths.entries()) requests += await look(browser, path, at + 1);
  console.log(JSON.stringify({ pages: paths.length, requests }));
} finally {
  await browser.close();
}
if (wrong.length > 0) {
  console.error(wrong.join("\n"));
  process.exitCode = 1;
}
