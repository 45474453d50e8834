// Folders in the deploy page: chosen with the button and dropped, as a person does it, from a real folder on this machine.
//
// Each becomes a deployment with the same bytes and the same manifest as `chainhost manifest` makes of that folder.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { picture } from "./picture.mjs";

/** How long one act of the browser may take: more means that it hangs. */
const PATIENCE = 30_000;
const MANY = 2_000;

/** Writes `{path: bytes}` below `folder`. */
const write = (folder, files) => {
  for (const [path, bytes] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), bytes);
  }
  return folder;
};

/** A folder with all that a name and a file can be: not ASCII, composed and not, deep, empty, hidden, binary, with rules. */
const SITE = {
  "index.html": "<!doctype html><html lang=\"en\"><title>Folder</title><h1>From a folder</h1>",
  "hours/winter/deep/er/index.html": "<!doctype html><html lang=\"en\"><title>Deep</title><h1>Deep</h1>",
  "Übersicht/café.txt": "composed",
  "Übersicht/cafe\u0301-2.txt": "not composed",
  "日本語/🏠 home.txt": "other scripts and a blank",
  "100%25 literal.txt": "a per cent sign is one",
  "empty.txt": "",
  ".hidden": "a hidden file",
  ".well-known/security.txt": "Contact: mailto:owner@quay.example",
  [`${"a-long-folder-name/".repeat(8)}end.txt`]: "longer than the names of an old archive",
  "bytes.bin": Buffer.from(Array.from({ length: 70_001 }, (_, at) => (at * 7) % 256)),
  "_headers": "/*\n  X-Folder: yes\n",
};
/** Never part of a site, by whichever way it comes. */
const BESIDE = { "node_modules/left/pad.js": "no", ".git/config": "no", "img/.DS_Store": "no" };

/** The address of a file, as a visitor asks for it. */
const address = (path) => `/${path.normalize("NFC").split("/").map(encodeURIComponent).join("/")}`;

/** The folders, for `shoot.mjs`: what it stands on is handed in. */
export const folders = async ({ act, base, binary, data, out, press, step, upload, visit }) => {
  const page = await act();
  page.setDefaultTimeout(PATIENCE);
  const site = "/sites/harbour-cafe";
  const made = (folder) => {
    const out = spawnSync(binary, ["manifest", folder], { encoding: "utf8", timeout: PATIENCE });
    assert.equal(out.status, 0, out.stderr);
    return /^sha256 ([0-9a-f]{64})$/m.exec(out.stdout)[1];
  };
  const said = () => page.locator("[data-chosen]").innerText();
  const until = (words) => page.locator("[data-chosen]").filter({ hasText: words }).waitFor();

  /** Chooses a folder with the button, as a person does in the system's own window. */
  const choose = async (folder, words = `${basename(folder)}: `) => {
    const opened = page.waitForEvent("filechooser", { timeout: PATIENCE });
    await page.locator("[data-folder]").click();
    await (await opened).setFiles(folder);
    await until(words);
  };
  /** Drops files and folders of this machine on the page, through the browser's own way of dragging. */
  const drop = async (paths) => {
    const { x, y, width, height } = await page.locator(".drop").boundingBox();
    const session = await page.context().newCDPSession(page);
    for (const type of ["dragEnter", "dragOver", "drop"]) {
      await session.send("Input.dispatchDragEvent", { type, x: x + width / 2, y: y + height / 2, data: { items: [], files: paths, dragOperationsMask: 1 } });
    }
    await session.detach();
  };
  /** Sends what was chosen; the manifest of the deployment that is live then. */
  const send = async () => {
    await press(page, "Send the files");
    await page.locator("h1 + .tag--live").waitFor();
    await page.goto(page.url().replace(/[?#].*/, "") + "/proof");
    return (await page.locator(".facts dd.hash").first().innerText()).replaceAll(/\s/g, "");
  };
  const fresh = async (words) => {
    await page.goto(`${base}${site}/deploy`);
    await page.getByLabel("What is new").fill(words);
  };
  const served = async (files) => {
    for (const [path, bytes] of Object.entries(files)) {
      if (path.startsWith("_")) continue;
      const at = address(path).replace(/index\.html$/, "");
      const answer = await visit("harbour-cafe.localhost", at);
      assert.equal(answer.status, 200, at);
      assert.ok(answer.bytes.equals(Buffer.from(bytes)), `the bytes of ${at}`);
      assert.equal(answer.headers["x-folder"], "yes", at);
    }
  };

  step("a folder, chosen with the button");
  const whole = write(join(data, "winter site"), { ...SITE, ...BESIDE });
  await fresh("Chosen with the button");
  await choose(whole);
  assert.match(await said(), new RegExp(`^winter site: ${Object.keys(SITE).length} files, 7[12] kB$`));
  const chosen = await send();
  assert.equal(chosen, made(whole), "the manifest of the same folder from the command line");
  await served(SITE);
  assert.equal((await visit("harbour-cafe.localhost", "/node_modules/left/pad.js")).status, 404);

  step("the same folder again, with one file changed");
  await fresh("Chosen once more");
  await choose(whole);
  write(whole, { "index.html": `${SITE["index.html"]}<p>Changed` });
  await choose(whole);
  assert.equal(await send(), made(whole), "what was chosen last counts");
  assert.notEqual(made(whole), chosen);

  step("a folder, dropped");
  write(whole, { "index.html": SITE["index.html"] });
  await fresh("Dropped");
  await drop([whole]);
  await until("winter site: ");
  assert.equal(await send(), chosen, "dropped or chosen is the same");

  step("several things, dropped together");
  const parts = ["index.html", "Übersicht"].map((it) => join(whole, it));
  const together = write(join(data, "together"), Object.fromEntries(Object.entries(SITE).filter(([path]) => /^(index|Übersicht)/.test(path))));
  await fresh("Dropped in parts");
  await drop(parts);
  await until("What you dropped: 3 files");
  assert.equal(await send(), made(together));

  step("files that a script drops, and an archive");
  await fresh("From a script");
  // A folder cannot be made in a page: what a script puts into a DataTransfer has no entry of a file system.
  const dropped = (names) => page.evaluate((given) => {
    const holder = new DataTransfer();
    for (const [name, text] of given) holder.items.add(new File([text], name));
    document.querySelector(".drop").dispatchEvent(new DragEvent("drop", { dataTransfer: holder, bubbles: true, cancelable: true }));
  }, names);
  await dropped([["site.tar.gz", "whatever"]]);
  assert.equal(await page.locator("input[name=archive]").evaluate((it) => it.files[0].name), "site.tar.gz", "an archive stays as it is");
  await dropped([["index.html", SITE["index.html"]], ["a.txt", "a"]]);
  await until("What you dropped: 2 files");
  assert.equal(await send(), made(write(join(data, "scripted"), { "index.html": SITE["index.html"], "a.txt": "a" })));

  step("two thousand files");
  const many = Object.fromEntries(Array.from({ length: MANY }, (_, at) => [`f${at % 40}/${at % 7}/file-${at}.txt`, `file ${at}\n`.repeat(at % 50)]));
  const large = write(join(data, "many"), { ...many, "index.html": SITE["index.html"] });
  await fresh("Two thousand files");
  await choose(large);
  assert.match(await said(), /^many: 2,001 files, /);
  assert.equal(await send(), made(large));
  await fresh("Two thousand files, dropped");
  await drop([large]);
  await until("many: 2,001 files");
  assert.equal(await send(), made(large), "also when a folder is read in more than one go");

  step("what is not taken");
  const secret = write(join(data, "secret"), { "index.html": SITE["index.html"], "api/.env": "TOKEN=1" });
  await fresh("With a secret");
  await choose(secret, "api/.env is among the files");
  assert.equal(await page.locator("input[name=archive]").evaluate((it) => it.files.length), 0, "nothing of it is kept to be sent");
  await picture(page, { path: join(out, "deploy-secret-1280-light.png"), fullPage: true });
  await drop([write(join(data, "nothing"), { "node_modules/only.js": "no" })]);
  await until("nothing has no files.");
  await page.locator("input[name=archive]").setInputFiles(upload({ "index.html": SITE["index.html"], ".env": "TOKEN=1" }));
  await press(page, "Send the files");
  await page.getByText("It failed, and nothing of it was published").waitFor();
  await page.getByText("files named .env* usually hold secrets").first().waitFor();
  await page.context().close();
};
