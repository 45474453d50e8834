// Takes a picture of a page, again when the browser says that it could not.

/** How often a picture is asked for, and how long the browser has before the next time, in milliseconds. */
const TRIES = 5;
const PAUSE = 500;

/**
 * `page.screenshot(options)`. Chromium now and then refuses a picture on a busy machine ("Unable to capture screenshot", no frame
 * was ready) and takes the same one a moment later. Any other error, and a browser that goes on refusing, fails as before.
 */
export const picture = async (page, options) => {
  for (let tries = 1; ; tries += 1) {
    try {
      return await page.screenshot(options);
    } catch (error) {
      if (tries === TRIES || !`${error}`.includes("Unable to capture screenshot")) throw error;
      console.error(`the browser could not take ${options.path}: again`);
      await page.waitForTimeout(PAUSE);
    }
  }
};
