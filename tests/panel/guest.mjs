// Signs in to a protected site in Chromium, as a visitor does, and says what it saw as JSON.
//
// Usage: node guest.mjs ADDRESS NAME PASSWORD FOLDER     (FOLDER: for pictures of the form)
import { chromium } from "playwright-core";
import { onward } from "./onward.mjs";
import { picture } from "./picture.mjs";

const [address, name, password, folder] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
const seen = {};
try {
  for (const [width, colorScheme] of [[1280, "light"], [390, "dark"]]) {
    const context = await browser.newContext({ viewport: { width, height: 800 }, colorScheme, javaScriptEnabled: false });
    const page = await context.newPage();
    const complaints = [];
    // The browser asks for an icon by itself, whenever it comes to it, and this site has none.
    page.on("console", (it) => it.location().url.endsWith("/favicon.ico") || complaints.push(it.text()));
    seen.asked = (await page.goto(address)).status();
    await page.locator("#name:focus").waitFor();
    seen.focused = await page.locator(":focus").count();
    await picture(page, { path: `${folder}/form-${width}.png` });
    await page.getByLabel("Name").fill(name);
    await page.getByLabel("Password").fill("not this one");
    await onward(page, page.getByRole("button", { name: "Sign in" }));
    seen.told = (await page.getByRole("alert").textContent()).trim();
    seen.kept = await page.getByLabel("Name").inputValue();
    await picture(page, { path: `${folder}/wrong-${width}.png` });
    await page.getByLabel("Password").fill(password);
    await onward(page, page.getByRole("button", { name: "Sign in" }));
    seen.at = page.url() === address;
    seen.text = await page.locator("body").textContent();
    const [cookie] = await context.cookies();
    seen.cookie = { name: cookie.name, httpOnly: cookie.httpOnly, sameSite: cookie.sameSite };
    // The status of a page that was refused is told on the console, and nothing else may be.
    seen.complaints = complaints.filter((it) => !it.includes("401"));
    await context.close();
  }
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}
