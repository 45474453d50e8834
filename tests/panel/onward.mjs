// Presses what leads to another page, and waits for that page.

/** How long the other page may take, in milliseconds: files that a script sends first are on their way so long. */
const PATIENCE = 120_000;

/**
 * Clicks `target` and waits until the document that it leads to is there. A click alone waits as long as the browser has said by
 * then that it goes elsewhere, which a busy machine says too late: what is asked next would be asked of the page before.
 */
export const onward = async (page, target) => {
  await Promise.all([page.waitForEvent("domcontentloaded", { timeout: PATIENCE }), target.click()]);
};
