// Settings of a site that have lists, each set without script: limits, firewall, routes, the budget of a month, and what caches keep.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { join } from "node:path";
import { picture } from "./picture.mjs";

/** How often a page is loaded again until it says what must come. */
const TRIES = 100;

/** The acts and their pages, for `shoot.mjs`: what it stands on is handed in. */
export const lists = async ({ act, base, follow, out, press, shoot, step, visit }) => {
  const plain = await act({ javaScriptEnabled: false });
  const host = "harbour-cafe.localhost";
  const settings = "/sites/harbour-cafe/settings";
  const group = (name) => plain.getByRole("group", { name, exact: true });
  const saved = () => plain.getByText("Saved. Visitors are served by it now.").waitFor();
  const unfold = (text) => plain.locator("summary", { hasText: text }).last().click();
  await shoot("protection-empty", `${settings}/protection`, 200, true);
  await shoot("proxy-empty", `${settings}/proxy`, 200, true);

  step("limits, without script");
  await plain.goto(`${base}${settings}`);
  await follow(plain, /^Protection$/);
  await group("New rate").getByLabel("Requests").fill("two");
  await group("New rate").getByLabel("in", { exact: true }).fill("1");
  await group("New rate").getByLabel("Unit: in").selectOption("days");
  await group("New rate").getByLabel("Path").fill("/limited");
  await group("New rate").getByLabel("Counted for").selectOption("all visitors");
  await press(plain, "Save the limits");
  await plain.getByText("There is a problem").waitFor();
  assert.equal(await group("Rate 1").getByLabel("Requests").inputValue(), "two", "what was typed stays");
  assert.equal(await group("Rate 1").getByLabel("Unit: in").inputValue(), "days");
  await picture(plain, { path: join(out, "protection-wrong-1280-light.png"), fullPage: true });
  await group("Rate 1").getByLabel("Requests").fill("2");
  await press(plain, "One more empty row");
  assert.equal(await group("New rate").count(), 2, "a row more, and nothing is saved");
  assert.equal((await visit(host, "/limited")).status, 404);
  await group("New rate").last().getByLabel("Requests").fill("600");
  await group("New rate").last().getByLabel("in", { exact: true }).fill("1");
  await plain.getByLabel("After refusals").fill("20");
  await press(plain, "Save the limits");
  await saved();
  const limited = [];
  for (let at = 0; at < 3; at += 1) limited.push((await visit(host, "/limited")).status);
  assert.deepEqual(limited, [404, 404, 429]);
  await group("Rate 1").getByLabel("Remove").check();
  await press(plain, "Save the limits");
  await saved();
  assert.equal((await visit(host, "/limited")).status, 404);
  assert.equal(await group("Rate 1").getByLabel("Requests").inputValue(), "600");
  for (const name of ["Requests", "in", "Path"]) await group("Rate 1").getByLabel(name, { exact: true }).fill("");
  await press(plain, "Save the limits");
  await plain.getByText(/Tick Remove to remove it/).first().waitFor();
  assert.equal(await group("Rate 1").getByLabel("Remove").count(), 1, "an emptied row is no removed one");
  await picture(plain, { path: join(out, "protection-emptied-1280-light.png"), fullPage: true });
  await group("Rate 1").getByLabel("Requests").fill("600");
  await group("Rate 1").getByLabel("in", { exact: true }).fill("1");
  await press(plain, "Save the limits");
  await saved();

  step("firewall, without script");
  await plain.getByLabel("Dotfiles").check();
  const rule = async (name, path, act) => {
    await unfold("Add a rule");
    await group("New rule").getByLabel("Name").fill(name);
    await group("New rule").getByLabel("What fits is").selectOption(act);
    await group("New rule").getByLabel("Path").fill(path);
    await press(plain, "Save the firewall");
  };
  // The fold is open while there is no rule.
  await unfold("Add a rule");
  await rule("Nobody reads the secret", "secret", "refused");
  await plain.getByText("There is a problem").waitFor();
  assert.equal(await group("Rule 1").getByLabel("Path").inputValue(), "secret", "its fold is open");
  await group("Rule 1").getByLabel("Path").fill("/secret/*");
  await press(plain, "Save the firewall");
  await saved();
  assert.deepEqual([(await visit(host, "/secret/x")).status, (await visit(host, "/.env")).status], [403, 403]);
  await rule("But for this one", "/secret/open", "let through");
  await saved();
  assert.equal((await visit(host, "/secret/open")).status, 403);
  await unfold("But for this one");
  await group("Rule 2").getByLabel("Place").fill("1");
  await press(plain, "Save the firewall");
  await saved();
  assert.deepEqual([(await visit(host, "/secret/open")).status, (await visit(host, "/secret/x")).status], [404, 403]);
  await shoot("protection", `${settings}/protection`);
  await shoot("protection-open", `${settings}/protection`, 200, true);
  for (const name of ["But for this one", "Nobody reads the secret"]) await unfold(name);
  for (const name of ["Rule 1", "Rule 2"]) await group(name).getByLabel("Remove").check();
  await plain.getByLabel("Dotfiles").uncheck();
  await press(plain, "Save the firewall");
  await saved();
  assert.equal((await visit(host, "/secret/x")).status, 404);

  step("routes, without script");
  const upstream = createServer((asked, answer) => answer.end(`asked for ${asked.url}`));
  await new Promise((done) => upstream.listen(0, "127.0.0.1", done));
  const to = `http://127.0.0.1:${upstream.address().port}`;
  await follow(plain, /^Proxy$/);
  await group("New route").getByLabel("Path", { exact: true }).fill("/api/");
  await group("New route").getByLabel("Servers", { exact: true }).fill("127.0.0.1");
  await group("New route").getByLabel("Take the path from the front").check();
  await press(plain, "Save the routes");
  await plain.getByText("There is a problem").waitFor();
  assert.equal(await group("Route 1").getByLabel("Servers", { exact: true }).inputValue(), "127.0.0.1");
  await picture(plain, { path: join(out, "proxy-wrong-1280-light.png"), fullPage: true });
  await group("Route 1").getByLabel("Servers", { exact: true }).fill(to);
  await press(plain, "Save the routes");
  await saved();
  assert.equal((await visit(host, "/api/users?a=b")).text, "asked for /users?a=b");
  await plain.reload();
  await plain.getByText("Gets requests", { exact: true }).waitFor();
  upstream.closeAllConnections();
  await new Promise((done) => upstream.close(done));
  for (let tries = 0; tries < TRIES && !(await plain.getByText("Fails, and is left alone").count()); tries += 1) {
    await visit(host, "/api/users");
    await plain.reload();
  }
  await plain.getByText("Fails, and is left alone").waitFor();
  await shoot("proxy", `${settings}/proxy`);
  await shoot("proxy-open", `${settings}/proxy`, 200, true);
  await unfold("/api/");
  await group("Route 1").getByLabel("Remove").check();
  await press(plain, "Save the routes");
  await saved();
  assert.equal((await visit(host, "/api/users")).status, 404);

  step("a budget, without script");
  const budget = async (text) => {
    await plain.goto(`${base}${settings}`);
    await unfold("Change the budget");
    await plain.getByLabel("The site may send in a month").fill(text);
    await press(plain, "Save the budget");
  };
  await budget("a lot");
  await plain.getByText("There is a problem").waitFor();
  assert.equal(await plain.getByLabel("The site may send in a month").inputValue(), "a lot");
  await budget("100 GB");
  await saved();
  await plain.getByText(/of 100 GB are used in/).waitFor();
  await shoot("site-settings-budget", settings, 200, true);
  await budget("");
  await saved();

  step("what caches in front keep, without script");
  const keep = async (tags) => {
    await plain.goto(`${base}${settings}`);
    await unfold("Change what they keep");
    await plain.getByLabel("They keep pages and files").check();
    await plain.getByLabel("Tags of your own").fill(tags);
    await press(plain, "Save what they keep");
  };
  await keep("blog /blog/*\nBlog /feed.xml");
  await plain.getByText("There is a problem").waitFor();
  assert.equal(await plain.getByLabel("Tags of your own").inputValue(), "blog /blog/*\nBlog /feed.xml", "what was typed stays");
  await shoot("site-settings-caching-wrong", settings, 200, true);
  await keep("blog /blog/*\nblog /feed.xml");
  await saved();
  await plain.getByText("Keep it until it changes").waitFor();
  await plain.getByText("Nobody purges caches of this site").waitFor();
  await shoot("site-settings-caching", settings, 200, true);
  await plain.goto(`${base}${settings}`);
  await unfold("Change what they keep");
  await plain.getByLabel("They keep pages and files").uncheck();
  await plain.getByLabel("Tags of your own").fill("");
  await press(plain, "Save what they keep");
  await saved();
  await plain.context().close();
};
