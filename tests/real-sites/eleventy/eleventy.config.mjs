// The settings of the Eleventy site that tests/it/real_sites/eleventy.rs writes.
export default (config) => {
  // Everything below static/ goes out byte by byte, at the root.
  config.addPassthroughCopy({ static: "/" });
  config.setQuietMode(true);
  config.addCollection("notes", (all) => all.getFilteredByGlob("content/notes/**/*.md").sort((a, b) => (a.inputPath < b.inputPath ? -1 : 1)));
  return {
    dir: { input: "content", includes: "../_includes", output: "site" },
    markdownTemplateEngine: false,
    htmlTemplateEngine: "njk",
  };
};
