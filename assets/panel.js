// Chain Host panel: progressive enhancement only. Every page works without this file.
// 1 copy buttons  2 filter a list while typing  3 "/" goes to the search field
// 4 parts of a page that the server keeps fresh  5 a folder, chosen or dropped, is sent as one archive
"use strict";
const say = document.createElement("p");
say.className = "vh";
say.setAttribute("role", "status");
document.body.append(say);

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = button.closest(".code").querySelector("code, pre");
  const label = button.querySelector("span");
  try {
    await navigator.clipboard.writeText(source.textContent);
    say.textContent = "Copied";
    const before = label.textContent;
    label.textContent = "Copied";
    setTimeout(() => { label.textContent = before; }, 1600);
  } catch {
    say.textContent = "The browser did not allow copying. The text is selected instead.";
    getSelection().selectAllChildren(source);
  }
});

for (const input of document.querySelectorAll("[data-filter]")) {
  const rows = [...document.querySelectorAll(input.dataset.filter)];
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      if (!row.hidden) shown += 1;
    }
    say.textContent = `${shown} shown`;
  });
}

// On a narrow screen the tab of this page may lie outside of the row.
for (const tab of document.querySelectorAll(".tabs [aria-current]")) {
  const row = tab.parentElement;
  // The last 48 pixels fade out.
  row.scrollLeft = tab.offsetLeft - row.offsetLeft + tab.offsetWidth + 48 - row.clientWidth;
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, textarea, select")) return;
  const search = document.querySelector("input[type=search]");
  if (search) { event.preventDefault(); search.focus(); }
});

// The stream carries HTML that the server wrote and escaped. A part that has the focus waits until it is left.
for (const part of document.querySelectorAll("[data-live]")) {
  let waiting = null;
  const put = () => { if (waiting !== null && !part.contains(document.activeElement)) { part.innerHTML = waiting; waiting = null; } };
  new EventSource(part.dataset.live).onmessage = (event) => { waiting = event.data; put(); };
  part.addEventListener("focusout", () => setTimeout(put));
}
for (const lines of document.querySelectorAll("[data-lines]")) {
  const source = new EventSource(lines.dataset.lines);
  source.onmessage = (event) => lines.insertAdjacentHTML("beforeend", event.data);
  source.addEventListener("end", () => { source.close(); location.reload(); });
}

// A tar archive (POSIX pax) of files, as a blob that reads them only while it is sent.
const block = (name, size, type) => {
  const bytes = new Uint8Array(512);
  const put = (text, at) => new TextEncoder().encodeInto(text, bytes.subarray(at));
  put(name, 0); put("0000644\0", 100); put("0000000\0", 108); put("0000000\0", 116);
  put(size.toString(8).padStart(11, "0") + "\0", 124); put("00000000000\0", 136); put("        ", 148);
  put(type, 156); put("ustar\0" + "00", 257);
  put(bytes.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, "0") + "\0 ", 148);
  return bytes;
};
const fill = (size) => new Uint8Array((512 - (size % 512)) % 512);
const tar = (files) => {
  const parts = [];
  for (const { path, file } of files) {
    // A pax record begins with its own length.
    const body = new TextEncoder().encode(` path=${path}\n`);
    let length = body.length + 1;
    while (String(length).length + body.length !== length) length = String(length).length + body.length;
    parts.push(block("pax", length, "x"), String(length), body, fill(length));
    parts.push(block("file", file.size, "0"), file, fill(file.size));
  }
  parts.push(new Uint8Array(1024));
  return new File(parts, "folder.tar", { type: "application/x-tar" });
};
// What is never part of a site is not sent; the server skips and refuses the same names, and has the last word.
const SKIPPED = new Set([".git", ".hg", ".svn", ".DS_Store", "__MACOSX", "node_modules"]);
const isSkipped = (path) => path.split("/").some((segment) => SKIPPED.has(segment));
const isSecret = (path) => path.split("/").some((segment) => segment.startsWith(".env"));
const walk = async (entry, path, out) => {
  if (isSkipped(entry.name)) return;
  if (entry.isFile) out.push({ path, file: await new Promise((done, fail) => entry.file(done, fail)) });
  if (!entry.isDirectory) return;
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) return;
    for (const inner of some) await walk(inner, path ? `${path}/${inner.name}` : inner.name, out);
  }
};
const size = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

const enhance = (field) => {
  const input = field.querySelector("input[type=file]");
  const drop = field.querySelector(".drop");
  const chosen = field.querySelector("[data-chosen]");
  const tell = (words, wrong = false) => {
    chosen.textContent = words;
    chosen.classList.toggle("faint", !wrong);
    chosen.classList.toggle("field__error", wrong);
  };
  const take = (file, words) => {
    const holder = new DataTransfer();
    holder.items.add(file);
    input.files = holder.files;
    tell(words);
  };
  const refuse = (words) => {
    input.value = "";
    tell(words, true);
  };
  const pack = (all, name) => {
    const files = all.filter((it) => !isSkipped(it.path));
    const secret = files.find((it) => isSecret(it.path));
    if (secret) return refuse(`${secret.path} is among the files. Files named .env* usually hold secrets, and everybody could read them. Take it out and choose the folder again; nothing was sent.`);
    if (!files.length) return refuse(`${name} has no files.`);
    const bytes = files.reduce((sum, it) => sum + it.file.size, 0);
    return take(tar(files), `${name}: ${files.length.toLocaleString("en")} ${files.length === 1 ? "file" : "files"}, ${size(bytes)}`);
  };
  const folder = document.createElement("input");
  folder.type = "file";
  folder.webkitdirectory = true;
  folder.addEventListener("change", () => {
    const files = [...folder.files].map((file) => ({ path: file.webkitRelativePath.split("/").slice(1).join("/"), file }));
    pack(files, folder.files[0]?.webkitRelativePath.split("/")[0] ?? "The folder");
    // So that the same folder can be chosen again after a change in it.
    folder.value = "";
  });
  field.querySelector("[data-folder]").addEventListener("click", () => folder.click());
  input.addEventListener("change", () => tell(""));
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.dataset.over = ""; });
  drop.addEventListener("dragleave", () => { delete drop.dataset.over; });
  drop.addEventListener("drop", async (event) => {
    event.preventDefault();
    delete drop.dataset.over;
    // All of it is read before the first wait: afterwards the browser has forgotten what was dropped.
    const loose = [...event.dataTransfer.files];
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
    const one = loose.length === 1 && !entries[0]?.isDirectory;
    if (one && /\.(zip|tar|gz|tgz|zst|tzst)$/i.test(loose[0].name)) return take(loose[0], "");
    // Files that a script has put together are no entries of a file system.
    if (!entries.length) return pack(loose.map((file) => ({ path: file.name, file })), "What you dropped");
    const files = [];
    const [only] = entries;
    const single = entries.length === 1;
    tell("Reading the folder");
    try {
      // One folder: what is in it. Several things: they as they are.
      for (const entry of entries) await walk(entry, single && entry.isDirectory ? "" : entry.name, files);
    } catch {
      return refuse("Something in it could not be read, so nothing was taken. Choose the folder with the button, or drop an archive.");
    }
    return pack(files, single ? only.name : "What you dropped");
  });

  field.closest("form").addEventListener("submit", (event) => {
    if (!input.files.length) return;
    event.preventDefault();
    const form = event.target;
    const shown = field.querySelector("[data-progress]");
    const bar = shown.querySelector("progress");
    const words = shown.querySelector("label");
    const button = form.querySelector(".btn--firm");
    const request = new XMLHttpRequest();
    shown.hidden = false;
    button.disabled = true;
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      bar.value = (100 * loaded) / total;
      words.textContent = loaded < total ? `Sending, ${Math.floor(bar.value)} %` : "All is sent; the server checks it";
    });
    request.addEventListener("load", () => {
      if (request.status < 400) { location.assign(request.responseURL); return; }
      const answer = new DOMParser().parseFromString(request.responseText, "text/html").querySelector("main");
      if (!answer) { location.reload(); return; }
      document.querySelector("main").replaceWith(answer);
      answer.querySelectorAll("[data-upload]").forEach(enhance);
      answer.querySelector("[role=alert]")?.focus();
    });
    request.addEventListener("error", () => {
      shown.hidden = true;
      button.disabled = false;
      tell("The connection broke off, or a file has changed since it was chosen. Nothing was published; choose and send it again.", true);
    });
    request.open("POST", form.action);
    request.send(new FormData(form));
  });
};
document.querySelectorAll("[data-upload]").forEach(enhance);
