// What is set in the panel: a paused queue, a watched folder, a site that is taken down, one's own password.
import assert from "node:assert/strict";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** How often a page is loaded again until it says what must come. */
const TRIES = 200;

/** The acts and their pages, for `shoot.mjs`: what it stands on is handed in. */
export const settings = async ({ act, base, data, follow, password, press, shoot, step, visit }) => {
  const page = await act();
  const plain = await act({ javaScriptEnabled: false });
  const site = "/sites/harbour-cafe";
  const until = async (at, words) => {
    await at.goto(`${base}${site}/settings`);
    for (let tries = 0; tries < TRIES && !(await at.getByText(words).count()); tries += 1) await at.reload();
    assert.ok(await at.getByText(words).count(), words);
  };

  step("a paused queue, without script");
  await plain.goto(`${base}/jobs`);
  await press(plain, "Pause the queue deploy");
  await plain.getByText("The queue is paused").waitFor();

  step("a watched folder, without script");
  const folder = join(data, "www");
  const watch = async (path, button) => {
    await plain.goto(`${base}${site}/settings`);
    await plain.getByLabel("Folder on this server").fill(path);
    await press(plain, button);
  };
  await watch("www/dist", "Watch the folder");
  await plain.getByText("There is a problem").waitFor();
  assert.equal(await plain.getByLabel("Folder on this server").inputValue(), "www/dist", "what was typed stays");
  await watch(folder, "Watch the folder");
  await plain.getByText("The folder is watched.").waitFor();
  await until(plain, "There is no such folder");
  for (const [name, path] of [["site-settings-watch-missing", `${site}/settings`], ["site-watch-missing", site], ["overview-watch-missing", "/"]]) await shoot(name, path);
  mkdirSync(folder);
  writeFileSync(join(folder, "index.html"), "<!doctype html><html lang=\"en\"><title>Watched</title><h1>Watched");
  await plain.goto(`${base}${site}/settings`);
  await press(plain, "Stop watching");
  await plain.getByText("The folder is watched no longer.").waitFor();
  await watch(folder, "Watch the folder");
  await until(plain, "Watched");
  for (let tries = 0; tries < TRIES && !/<h1>Watched/.test((await visit("harbour-cafe.localhost")).text); tries += 1) await plain.reload();
  assert.match((await visit("harbour-cafe.localhost")).text, /<h1>Watched/);
  for (const [name, path] of [["site-settings-watched", `${site}/settings`], ["site-watched", site], ["deploy-watched", `${site}/deploy`]]) await shoot(name, path);

  step("its job waits for the queue, which is resumed");
  await page.goto(`${base}/jobs`);
  await page.getByText("when the queue deploy is resumed").first().waitFor();
  for (const [name, path] of [["jobs-paused", "/jobs"], ["overview-paused", "/"]]) await shoot(name, path);
  await plain.goto(`${base}${site}/settings`);
  await press(plain, "Stop watching");
  await press(page, "Resume the queue deploy");
  await page.getByText("The queue goes on.").waitFor();
  await page.getByRole("button", { name: "Pause the queue deploy", exact: true }).waitFor();
  await page.getByText("when the queue deploy is resumed").waitFor({ state: "detached" });

  step("taking a site down and putting it back, without script");
  await plain.goto(`${base}${site}/settings`);
  await follow(plain, "Take this site down…");
  await shoot("take-down", `${site}/take-down`);
  await plain.getByLabel("Why, for visitors").fill("The kitchen burnt. We are back in spring, with the menu of before and a new stove.");
  await press(plain, "Take the site down");
  await plain.getByText("The site is taken down.").waitFor();
  const down = await visit("harbour-cafe.localhost");
  assert.equal(down.status, 451);
  assert.match(down.text, /The kitchen burnt/);
  for (const [name, path] of [
    ["site-down", site], ["site-deployments-down", `${site}/deployments`], ["hostnames-down", `${site}/hostnames`], ["site-settings-down", `${site}/settings`],
    ["deployment-down", `${site}/deployments/3`], ["deploy-down", `${site}/deploy`], ["take-down-again", `${site}/take-down`], ["put-back", `${site}/put-back`], ["sites-down", "/sites"], ["overview-down", "/"],
  ]) await shoot(name, path);
  await plain.goto(`${base}${site}`);
  await follow(plain, "Put it back…");
  await press(plain, "Put the site back");
  await plain.getByText("The site is back.").waitFor();
  assert.match((await visit("harbour-cafe.localhost")).text, /<h1>Watched/);

  step("one's own password");
  await shoot("password", "/settings/password");
  const change = async (present) => {
    await page.goto(`${base}/settings/password`);
    await page.getByLabel("Present password").fill(present);
    await page.getByLabel("New password", { exact: true }).fill("the tide table of next year");
    await page.getByLabel("New password, once more").fill("the tide table of next year");
    await press(page, "Change the password");
  };
  await change("not the present one");
  await page.getByText("There is a problem").waitFor();
  assert.equal(await page.getByLabel("Present password").inputValue(), "", "a password does not come back");
  await change(password);
  await page.getByText("The password is changed.").waitFor();
  await page.context().close();
  await plain.context().close();
};
