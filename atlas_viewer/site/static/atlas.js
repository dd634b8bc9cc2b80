// Keys, filter, copying, and a memory for the two switches. Every page works without it.
(() => {
  "use strict";
  document.documentElement.classList.add("scripted");
  const one = (query) => document.querySelector(query);
  const all = (query) => [...document.querySelectorAll(query)];
  const go = (query) => { const link = one(query); if (link) location.href = link.href; };

  // What is chosen: colours by name, the style by its place in the row of styles. It is kept in the address, for
  // links that are passed on, and in the browser's storage where that is allowed.
  const chosen = () => {
    const style = one('input[name="style"]:checked');
    const state = new URLSearchParams();
    if (one("#colours-true").checked) state.set("colours", "true");
    if (style && style.id !== "style-0") state.set("style", style.id.slice(6));
    return state;
  };
  const store = (write) => { try { return write(localStorage); } catch { return null; } };
  const isState = (hash) => /^#(colours|style)=/.test(hash);
  const set = (id) => { const input = document.getElementById(id); if (input) input.checked = true; };
  const apply = (state) => {
    set(state.get("colours") === "true" ? "colours-true" : "colours-stretched");
    if (state.has("style")) set("style-" + state.get("style"));
  };
  const remember = () => {
    const state = chosen().toString();
    store((kept) => kept.setItem("atlas", state));
    if (!location.hash || isState(location.hash)) {
      history.replaceState(null, "", state ? "#" + state : location.pathname + location.search);
    }
  };
  const kept = isState(location.hash) ? location.hash.slice(1) : store((box) => box.getItem("atlas"));
  if (kept) apply(new URLSearchParams(kept));
  all('input[name="colours"], input[name="style"]').forEach((input) => input.addEventListener("change", remember));
  addEventListener("hashchange", () => { if (isState(location.hash)) apply(new URLSearchParams(location.hash.slice(1))); });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    const state = chosen().toString();
    if (link && state && !link.getAttribute("href").includes("#")) link.hash = state;
  });

  // Copying: navigator.clipboard is not there for files in some browsers.
  const copy = (text) => {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    return Promise.resolve();
  };
  all("button.copy").forEach((button) => button.addEventListener("click", async () => {
    await copy(button.dataset.copy);
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1200);
  }));

  // The filter: every word must be in the name or be the number.
  all("input[data-filter]").forEach((input) => {
    const things = all(input.dataset.filter);
    const names = things.map((thing) => thing.dataset.name.toLowerCase());
    const list = one(".everything");
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      things.forEach((thing, at) => {
        thing.hidden = !words.every((word) => /^\d+$/.test(word) ? names[at].split(" ")[0].startsWith(word) : names[at].includes(word));
      });
      if (list) list.open = words.length > 0;
    });
    input.addEventListener("keydown", (event) => {
      const first = things.find((thing) => !thing.hidden);
      if (event.key === "Enter" && first && input.value) location.href = first.href;
      if (event.key === "Escape") { input.value = ""; input.dispatchEvent(new Event("input")); input.blur(); }
    });
  });

  const cycle = (name) => {
    const inputs = all(`input[name="${name}"]`);
    const at = inputs.findIndex((input) => input.checked);
    if (inputs.length) { inputs[(at + 1) % inputs.length].checked = true; remember(); }
  };
  const keys = one("#keys");
  const help = () => { if (keys.open) keys.close(); else keys.showModal(); };
  all("button.help").forEach((button) => button.addEventListener("click", help));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=search], textarea")) return;
    const does = {
      ArrowLeft: () => go('link[rel="prev"]'), k: () => go('link[rel="prev"]'),
      ArrowRight: () => go('link[rel="next"]'), j: () => go('link[rel="next"]'),
      "[": () => go('link[data-rel="layer-before"]'), "]": () => go('link[data-rel="layer-after"]'),
      u: () => go('link[rel="up"]'), s: () => cycle("colours"), t: () => cycle("style"), "?": help,
      "/": () => { const input = one("input[data-filter]"); if (input) input.focus(); },
    }[event.key];
    if (does) { event.preventDefault(); does(); }
  });
})();
