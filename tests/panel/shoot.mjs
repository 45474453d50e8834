// Starts the real server, uses every page of the panel as a person would, and looks at each in a browser.
//
// Usage: node shoot.mjs OUT [BINARY] [quick]     (BINARY is target/debug/chainhost unless said; quick: one view of each page)
// Fails on: an axe violation of WCAG 2.0 to 2.2 A and AA, a page above 50 kB compressed, a violation of the content
// security policy or another error in the console, a part wider than the window, or an act that does not do what it says.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { folders } from "./folders.mjs";
import { lists } from "./lists.mjs";
import { look, open } from "./look.mjs";
import { onward } from "./onward.mjs";
import { picture } from "./picture.mjs";
import { schedules } from "./schedules.mjs";
import { settings } from "./settings.mjs";

const [out = "shots", binary = new URL("../../target/debug/chainhost", import.meta.url).pathname] = process.argv.slice(2).filter((it) => it !== "quick");
mkdirSync(out, { recursive: true });
const data = mkdtempSync(join(tmpdir(), "chainhost-panel-"));
const EMAIL = "owner@quay.example";
const PASSWORD = "a harbour at low tide";

/** A tar.gz of `{path: text}`. */
const archive = (files) => {
  const parts = [];
  for (const [path, text] of Object.entries(files)) {
    const bytes = Buffer.from(text);
    const head = Buffer.alloc(512);
    head.write(path, 0); head.write("0000644\0", 100); head.write("0000000\0", 108); head.write("0000000\0", 116);
    head.write(`${bytes.length.toString(8).padStart(11, "0")}\0`, 124); head.write("00000000000\0", 136);
    head.write("        ", 148); head.write("0", 156); head.write("ustar\0" + "00", 257);
    head.write(`${head.reduce((sum, it) => sum + it, 0).toString(8).padStart(6, "0")}\0 `, 148);
    parts.push(head, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512));
  }
  return gzipSync(Buffer.concat([...parts, Buffer.alloc(1024)]));
};
const page1 = (title) => `<!doctype html><html lang="en"><title>${title}</title><h1>${title}</h1>`;
const upload = (files) => ({ name: "site.tar.gz", mimeType: "application/gzip", buffer: archive(files) });

const server = spawn(binary, ["serve", "--data", join(data, "d"), "--listen", "127.0.0.1:0"], {
  // A check of a hostname asks nobody on the internet.
  env: { ...process.env, CHAINHOST_DNS_SERVERS: "127.0.0.1:1" },
  stdio: ["ignore", "pipe", "pipe"],
});
let noise = "";
server.stderr.on("data", (piece) => { noise += piece; });
const base = await new Promise((done, fail) => {
  let text = "";
  server.stdout.on("data", (piece) => { text += piece; const ready = /^ready (\S+)/m.exec(text); if (ready) done(ready[1]); });
  server.on("exit", (code) => fail(new Error(`the server ended with ${code}: ${noise}`)));
});
const { port } = new URL(base);

/** What a visitor gets: status, headers, bytes, and these as text. */
const visit = (host, path = "/", headers = {}, method = "GET", body = "") => new Promise((done, fail) => {
  const asked = request({ host: "127.0.0.1", port, path, method, headers: { host: `${host}:${port}`, ...headers } }, (answer) => {
    const pieces = [];
    answer.on("data", (piece) => pieces.push(piece));
    answer.on("end", () => {
      const bytes = Buffer.concat(pieces);
      done({ status: answer.statusCode, headers: answer.headers, bytes, text: bytes.toString() });
    });
  });
  asked.on("error", fail);
  asked.end(body);
});

let bad = 0;
let heaviest = 0;
const browser = await open();
let state;
const shoot = async (name, path, status = 200, opened = false) => {
  const seen = await look(browser, { url: path.startsWith("http") ? path : base + path, name, out, state, status, opened });
  heaviest = Math.max(heaviest, seen.heaviest);
  bad += seen.wrong.length;
  console.log(name, seen.heaviest, seen.wrong.length ? `\n  ${seen.wrong.join("\n  ")}` : "well");
};
const step = (text) => console.log(`-- ${text}`);

/** A page for acting, which fails on errors in the console like those that are looked at. */
const act = async (options = {}) => {
  const context = await browser.newContext({ storageState: state, viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.on("console", (message) => {
    if (message.type() === "error" && !/status of 4\d\d/.test(message.text())) { bad += 1; console.log("  console:", message.text()); }
  });
  page.on("pageerror", (error) => { bad += 1; console.log("  script:", error); });
  return page;
};
const press = (page, name) => onward(page, page.getByRole("button", { name, exact: true }).first());
const follow = (page, name) => onward(page, page.getByRole("link", { name }).first());
const heading = (page) => page.locator("h1").innerText();

try {
  step("first contact");
  const link = readFileSync(join(data, "d", "claim-link"), "utf8").trim();
  await shoot("claim", link);
  await shoot("claim-waiting", "/claim");
  await shoot("claim-stale", "/claim?token=old");
  let page = await act();
  await page.goto(link);
  await page.getByLabel("Your e-mail").fill(EMAIL);
  await page.getByLabel("A password").fill("too short");
  await page.evaluate(() => { document.querySelector("form").noValidate = true; });
  await press(page, "Claim this server");
  await page.getByText("There is a problem").waitFor();
  assert.equal(await page.getByLabel("Your e-mail").inputValue(), EMAIL);
  assert.equal(await page.getByLabel("A password").inputValue(), "");
  await page.getByLabel("A password").fill(PASSWORD);
  await press(page, "Claim this server");
  await page.getByText("This server is yours.").waitFor();
  state = await page.context().storageState();
  const cookie = state.cookies.find((it) => /^chainhost_[0-9a-f]{8}$/.test(it.name));
  assert.ok(cookie?.httpOnly && cookie.sameSite === "Strict" && cookie.path === "/", "the session's cookie");
  state.cookies = state.cookies.filter((it) => it.name !== "chainhost_notice");
  assert.equal((await page.goto(link)).url(), `${base}/`, "a used link leads on");

  step("what is empty");
  for (const [name, path] of [["overview-empty", "/"], ["sites-empty", "/sites"], ["jobs-empty", "/jobs"], ["storage-empty", "/storage"], ["keys-empty", "/settings/keys"], ["site-new", "/sites/new"]]) await shoot(name, path);

  step("a first site, by an archive, with script");
  await page.goto(`${base}/sites/new`);
  await page.getByLabel("Name").fill("Harbour Cafe");
  await page.evaluate(() => { document.querySelector("form[enctype]").noValidate = true; });
  await page.locator("input[type=file]").first().setInputFiles(upload({ "index.html": page1("One") }));
  await page.getByRole("button", { name: "Create and publish" }).click();
  await page.getByText("There is a problem").waitFor();
  await page.getByLabel("Name").fill("harbour-cafe");
  await page.locator("input[type=file]").first().setInputFiles(upload({ "index.html": page1("One"), "hours/index.html": page1("Hours"), "css/site.css": "h1{color:teal}" }));
  await press(page, "Create and publish");
  await page.locator("h1 + .tag--live").waitFor();
  assert.match(page.url(), /\/sites\/harbour-cafe\/deployments\/1$/);
  assert.match((await visit("harbour-cafe.localhost")).text, /<h1>One/);
  await shoot("deployment-first", "/sites/harbour-cafe/deployments/1");
  await shoot("diff-none", "/sites/harbour-cafe/deployments/1/diff");
  await shoot("site-first", "/sites/harbour-cafe");

  step("a second, by a folder that the script packs");
  const watch = await act();
  await watch.goto(`${base}/jobs`);
  await page.goto(`${base}/sites/harbour-cafe/deploy`);
  await page.getByLabel("What is new").fill("Winter opening hours");
  await page.evaluate((long) => {
    const file = (text) => new File([text], "x");
    const packed = tar([
      { path: "index.html", file: file("<!doctype html><title>Two</title><h1>Two</h1>") },
      { path: "hours/index.html", file: file("<!doctype html><title>Hours</title><h1>Wednesday to Sunday</h1>") },
      { path: `${long}/ünïcode.txt`, file: file("long and not ASCII") },
      { path: "_redirects", file: file("# moved\n/menu day=:day /menus/:day.html 302\n/booking /hours/ 301\n/booking /never 302\n/hours/index.html /x 301\n") },
      { path: "_headers", file: file("/*\n  X-Frame-Options: DENY\n/hours/*\n  Cache-Control: no-cache\n/menu\n  X-Robots-Tag: noindex\n") },
    ]);
    const holder = new DataTransfer();
    holder.items.add(packed);
    document.querySelector("[data-upload] input[type=file]").files = holder.files;
  }, "a-long-folder-name/".repeat(8).replace(/\/$/, ""));
  await press(page, "Send the files");
  await page.locator("h1 + .tag--live").waitFor();
  await watch.getByText("Compress harbour-cafe 2").waitFor();
  assert.equal(await watch.evaluate(() => performance.getEntriesByType("navigation")[0].type), "navigate", "the jobs came by themselves");
  await watch.context().close();
  assert.match((await visit("harbour-cafe.localhost")).text, /<h1>Two/);
  assert.match((await visit("harbour-cafe.localhost", `/${"a-long-folder-name/".repeat(8)}%C3%BCn%C3%AFcode.txt`)).text, /not ASCII/);

  step("a preview and a failure, without script");
  const plain = await act({ javaScriptEnabled: false });
  await plain.goto(`${base}/sites/harbour-cafe/deploy`);
  await plain.getByLabel("What is new").fill("Try the new menu page");
  await plain.getByLabel("Only make a preview").check();
  await plain.locator("input[type=file]").setInputFiles(upload({ "index.html": page1("Three"), "menu.html": page1("Menu") }));
  await press(plain, "Send the files");
  await plain.getByText("The files are here.").waitFor();
  for (let at = 0; at < 100 && !(await plain.getByText("Ready").count()); at += 1) { await plain.reload(); }
  const preview = await plain.getByRole("link", { name: "Open preview" }).getAttribute("href");
  assert.match((await visit(new URL(preview).hostname)).text, /<h1>Three/);
  assert.match((await visit("harbour-cafe.localhost")).text, /<h1>Two/, "a preview changes nothing");
  await plain.goto(`${base}/sites/harbour-cafe/deploy`);
  await press(plain, "Send the files").catch(() => {});
  await plain.locator("input[type=file]").setInputFiles({ name: "not.zip", mimeType: "application/zip", buffer: Buffer.from("no archive at all") });
  await press(plain, "Send the files");
  await plain.getByText("There is a problem").waitFor();
  await plain.locator("input[type=file]").setInputFiles(upload({ "index.html": page1("Four"), _redirects: "nonsense\n" }));
  await press(plain, "Send the files");
  await plain.getByText("The files are here.").waitFor();
  for (let at = 0; at < 100 && !(await plain.getByText("It failed, and nothing of it was published").count()); at += 1) { await plain.reload(); }

  step("pages of the site");
  const site = "/sites/harbour-cafe";
  for (const [name, path] of [
    ["overview", "/"], ["sites", "/sites"], ["site", site], ["site-deployments", `${site}/deployments`], ["site-settings", `${site}/settings`],
    ["deploy", `${site}/deploy`], ["deployment", `${site}/deployments/2`], ["deployment-preview", `${site}/deployments/3`], ["deployment-failed", `${site}/deployments/4`],
    ["files", `${site}/deployments/2/files`], ["diff", `${site}/deployments/2/diff?against=1`], ["log", `${site}/deployments/2/log`],
    ["proof", `${site}/deployments/2/proof`], ["rollback", `${site}/rollback/1`], ["publish", `${site}/publish/3`], ["delete", `${site}/delete`],
  ]) await shoot(name, path);

  step("rules, tried without script");
  await plain.goto(`${base}${site}/rules`);
  await plain.getByText("Never asked:").waitFor();
  await plain.getByRole("textbox", { name: "Address" }).fill("booking");
  await press(plain, "Try it");
  await plain.getByText("There is a problem").waitFor();
  await plain.getByRole("textbox", { name: "Address" }).fill("/booking?table=2");
  await press(plain, "Try it");
  await plain.getByText("because of line 3 of _redirects.").waitFor();
  assert.equal((await visit("harbour-cafe.localhost", "/booking?table=2")).headers.location, "/hours/?table=2");
  assert.equal(await plain.locator("tr.answers").count(), 1);
  for (const [name, query] of [["", ""], ["-redirect", "?url=%2Fbooking"], ["-file", "?url=%2Fhours%2F"], ["-missing", "?url=%2Fnowhere&deployment=1"], ["-wrong", "?url=booking"]]) {
    await shoot(`site-rules${name}`, `${site}/rules${query}`, name === "-wrong" ? 400 : 200);
  }

  step("rolling back, publishing, the proof");
  await plain.goto(`${base}${site}/rollback/1`);
  await press(plain, "Roll back to 1");
  await plain.getByText("Rolled back.").waitFor();
  assert.match((await visit("harbour-cafe.localhost")).text, /<h1>One/);
  await plain.reload();
  assert.equal(await plain.getByText("Rolled back.").count(), 0, "a notice is shown once");
  await page.goto(`${base}${site}/publish/3`);
  const stale = await act();
  await stale.goto(`${base}${site}/publish/2`);
  await press(page, "Publish 3");
  await page.getByText("Published.").waitFor();
  assert.match((await visit("harbour-cafe.localhost")).text, /<h1>Three/);
  await press(stale, "Publish 2");
  await stale.getByText("Another deployment was published").waitFor();
  const download = await Promise.all([page.waitForEvent("download"), page.goto(`${base}${site}/deployments/3/proof`).then(() => page.getByRole("link", { name: "Download the proof" }).click())]);
  assert.equal(download[0].suggestedFilename(), "harbour-cafe-3.chproof.json");
  const verified = spawnSync(binary, ["verify", await download[0].path(), "--offline"], { encoding: "utf8" });
  assert.equal(verified.status, 10, `valid, not yet logged: ${verified.stdout}${verified.stderr}`);
  await page.goto(`${base}${site}/deployments/3/log.txt`);
  assert.match(await page.locator("body").innerText(), /Live/);

  step("hostnames");
  await page.goto(`${base}${site}/hostnames`);
  await page.getByRole("textbox", { name: "Hostname" }).fill("no hostname");
  await press(page, "Add the hostname");
  await page.getByText("There is a problem").waitFor();
  await page.getByRole("textbox", { name: "Hostname" }).fill("www.harbour.example");
  await press(page, "Add the hostname");
  await page.getByText("The hostname is added.").waitFor();
  assert.match((await visit("www.harbour.example")).text, /<h1>Three/);
  await shoot("hostnames", `${site}/hostnames`);
  await shoot("hostname-check", `${site}/hostnames/www.harbour.example/check`);
  await shoot("hostname-remove", `${site}/hostnames/www.harbour.example/remove`);

  await settings({ act, base, data, follow, password: PASSWORD, press, shoot, step, visit });
  await lists({ act, base, follow, out, press, shoot, step, visit });

  step("keys, users, sessions, theme");
  await page.goto(`${base}/settings/keys`);
  await page.getByLabel("Name").fill("ci-harbour");
  await press(page, "Make the key");
  await page.getByText("This is the only time it is shown.").waitFor();
  const key = await page.locator("code[aria-label='API key']").innerText();
  assert.match(key, /^ch_[\w-]{49}$/);
  assert.equal((await visit("localhost", "/api/v1/me", { authorization: `Bearer ${key}` })).status, 200);
  await picture(page, { path: `${out}/key-created-1280-light.png`, fullPage: true });
  await shoot("keys", "/settings/keys");
  await page.goto(`${base}/settings/keys`);
  await follow(page, "Revoke");
  await shoot("key-revoke", page.url());
  await press(page, "Revoke the key");
  await page.getByText("The key is revoked.").waitFor();
  assert.equal((await visit("localhost", "/api/v1/me", { authorization: `Bearer ${key}` })).status, 401);
  await page.goto(`${base}/settings/users`);
  await page.getByLabel("E-mail").fill("mate@quay.example");
  await page.getByLabel("First password").fill("another long sentence");
  await press(page, "Add the user");
  await page.getByText("The user is added").waitFor();
  await shoot("users", "/settings/users");
  const mate = await (await browser.newContext()).newPage();
  await mate.goto(`${base}/settings/users`);
  assert.match(mate.url(), /\/sign-in\?next=/);
  await mate.getByLabel("E-mail").fill("mate@quay.example");
  await mate.getByLabel("Password").fill("wrong");
  await press(mate, "Sign in");
  await mate.getByText("There is a problem").waitFor();
  await mate.getByLabel("Password").fill("another long sentence");
  await press(mate, "Sign in");
  assert.equal(await heading(mate), "You may not do this.", "a user sees no users");
  await mate.goto(`${base}/storage`);
  assert.equal(await heading(mate), "You may not do this.");
  await page.goto(`${base}/settings/users`);
  await follow(page, "Disable");
  await shoot("user-disable", page.url());
  await press(page, "Disable the user");
  await page.getByText("The user is disabled.").waitFor();
  await mate.goto(`${base}/sites`);
  assert.equal(await heading(mate), "Sign in", "a disabled user is out at once");
  for (const [name, path] of [["settings", "/settings"], ["sessions", "/settings/sessions"], ["nodes", "/settings/nodes"], ["audit-log", "/audit-log"], ["storage", "/storage"], ["jobs", "/jobs"]]) await shoot(name, path);
  await schedules({ base, follow, page, press, shoot, step });
  await page.goto(`${base}/audit-log`);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip", "the first stop skips the navigation");
  await page.keyboard.press("/");
  await page.keyboard.type("rolled");
  assert.equal(await page.locator(".ledger tbody tr:visible").count(), 1, "a list is filtered while typing");
  await press(page, "Check the chain");
  await page.getByText("The chain of hashes was walked just now and is whole").waitFor();
  await page.goto(`${base}/settings`);
  await page.getByLabel("Dark").check();
  await press(page, "Save");
  await page.getByText("Saved in this browser.").waitFor();
  assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");

  step("what is refused");
  const session = `${cookie.name}=${cookie.value}`;
  const form = { "content-type": "application/x-www-form-urlencoded", cookie: session };
  for (const headers of [{}, { origin: "http://evil.example" }, { origin: "null" }, { "sec-fetch-site": "cross-site" }, { origin: `http://harbour-cafe.localhost:${port}` }]) {
    const answer = await visit("localhost", "/storage/clean", { ...form, ...headers }, "POST");
    assert.equal(answer.status, 403, JSON.stringify(headers));
  }
  assert.equal((await visit("localhost", "/settings/theme", { ...form, "sec-fetch-site": "same-origin" }, "POST", "theme=light")).status, 303);
  assert.equal((await visit("localhost", "/sign-in", { "content-type": form["content-type"] }, "POST", "email=a&password=b")).status, 403);
  assert.equal((await visit("harbour-cafe.localhost", "/sites")).status, 404, "the panel is on its own host only");
  const headers = (await visit("localhost", "/sign-in")).headers;
  assert.equal(headers["content-security-policy"], "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'");
  assert.equal(headers["cache-control"], "no-store");
  await shoot("error-404", "/nowhere", 404);
  await shoot("error-404-site", "/sites/nobody", 404);

  await folders({ act, base, binary, data, out, press, step, upload, visit });

  step("signing out, deleting");
  await page.goto(`${base}${site}/delete`);
  await page.getByLabel("to confirm").fill("harbour-cafe");
  await press(page, "Delete the site");
  await page.getByText("The site is deleted.").waitFor();
  assert.equal((await visit("harbour-cafe.localhost")).status, 421);
  await press(page, "Sign out");
  await page.getByText("You are signed out.").waitFor();
  await page.goto(`${base}/jobs`);
  assert.equal(await heading(page), "Sign in");
  state = undefined;
  await shoot("sign-in", "/sign-in");
} catch (error) {
  bad += 1;
  console.log(error);
  writeFileSync(join(out, "server.log"), noise);
} finally {
  await browser.close();
  server.kill("SIGTERM");
  await new Promise((done) => { server.on("exit", done); if (server.exitCode !== null) done(); });
  rmSync(data, { recursive: true, force: true });
}
console.log(`heaviest page: ${heaviest} bytes; ${bad ? `${bad} problems` : "all is well"}`);
process.exitCode = bad ? 1 : 0;
