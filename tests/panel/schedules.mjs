// Schedules: what the form says before one is made, the list with one that failed, and the question before one goes.
import assert from "node:assert/strict";

/** Makes a schedule, runs it, and deletes it. */
export const schedules = async ({ base, follow, page, press, shoot, step }) => {
  step("schedules");
  await page.goto(`${base}/schedules`);
  await follow(page, "New schedule");
  await shoot("schedule-new", "/schedules/new");
  await page.getByLabel("Name").fill("nightly check");
  await page.getByLabel("For the site").fill("harbour-cafe");
  await page.getByLabel("When", { exact: true }).fill("61 3 * * *");
  await press(page, "Show its next times");
  await page.getByText("There is a problem").waitFor();
  assert.equal(await page.getByLabel("Name").inputValue(), "nightly check", "what was typed is still there");
  await page.getByLabel("When", { exact: true }).fill("0 3 * * MON-FRI");
  await page.getByLabel("Time zone").fill("Europe/Berlin");
  await press(page, "Show its next times");
  await page.getByText(", 03:00").first().waitFor();
  await press(page, "Make the schedule");
  await page.getByText("The schedule is made.").waitFor();
  await press(page, "Run now nightly check");
  await page.getByText("The job is asked for.").waitFor();
  for (const until = Date.now() + 30_000; !(await page.getByText("Done", { exact: true }).first().isVisible()) && Date.now() < until; await page.reload());
  await follow(page, "Delete… nightly check");
  await shoot("schedule-delete", page.url());
  await follow(page, "Keep it");
  await shoot("schedules", "/schedules");
};
