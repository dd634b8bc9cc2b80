// Keys, filter, order, copying, and a memory for the switches. Every page works without it.
(() => {
  "use strict";
  document.documentElement.classList.add("scripted");
  const one = (query) => document.querySelector(query);
  const all = (query) => [...document.querySelectorAll(query)];
  const go = (query) => { const link = one(query); if (link) location.href = link.href; };

  // The state of the switches: colours, form and iterate by name; the view by its place among the styles or the runs
  // (dgn-0, …), or as "images". The address keeps it, for shared links, and so does the browser's storage where that
  // is allowed. A page without one of the switches passes on its earlier state.
  let before = new URLSearchParams();
  const chosen = () => {
    const state = new URLSearchParams(before);
    for (const name of ["colours", "style", "form", "iterate"]) {
      const input = one(`input[name="${name}"]:checked`);
      if (!input) continue;
      const value = input.id.slice(name.length + 1);
      const kept = name === "style" && before.has(name); // pages begin with different views
      if (input.defaultChecked && !kept) state.delete(name); else state.set(name, value);
    }
    return state;
  };
  const store = (write) => { try { return write(localStorage); } catch { return null; } };
  const isState = (hash) => /^#(colours|style|form|iterate)=/.test(hash);
  const set = (id) => { const input = document.getElementById(id); if (input) input.checked = true; };
  const apply = (state) => {
    before = state;
    set("colours-" + (state.get("colours") || "stretched"));
    set("form-" + (state.get("form") || "raw"));
    set("iterate-" + (state.get("iterate") || "last"));
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
  all("input.switch").forEach((input) => input.addEventListener("change", remember));
  addEventListener("hashchange", () => { if (isState(location.hash)) apply(new URLSearchParams(location.hash.slice(1))); });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href]");
    const state = chosen().toString();
    if (link && state && !link.getAttribute("href").includes("#")) link.hash = state;
  });

  // Copying: navigator.clipboard is missing for files in some browsers.
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

  // The filter: every word must be in the name or be the number; and the unit must have the chosen mark.
  const only = one("select[data-only]");
  all("input[data-filter]").forEach((input) => {
    const things = all(input.dataset.filter);
    const names = things.map((thing) => thing.dataset.name.toLowerCase());
    const fits = (words, name) => words.every((word) => /^\d+$/.test(word) ? name.split(" ")[0].startsWith(word) : name.includes(word));
    const elsewhere = one("#elsewhere"); // units of the layer's other pages: their names are loaded at the first use
    let others = null;
    const load = () => {
      if (!input.dataset.units || others) return;
      others = [];
      window.atlasUnits = ({ units, labels }) => {
        const numbers = typeof units === "number" ? Array.from({ length: units }, (_, at) => at) : units;
        const here = new Set(names.map((name) => name.split(" ")[0]));
        others = numbers.map((unit, at) => [`${unit}`, labels[at] || ""]).filter(([unit]) => !here.has(unit))
          .map(([unit, label]) => [unit, label, `${unit} ${label}`.toLowerCase()]);
        choose();
      };
      document.head.append(Object.assign(document.createElement("script"), { src: input.dataset.units }));
    };
    const link = ([unit, label]) => Object.assign(document.createElement("a"), { href: `${unit}.html`, textContent: `${unit} ${label}` });
    const choose = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      if (elsewhere) {
        load();
        const matching = words.length ? others.filter(([, , name]) => fits(words, name)) : [];
        elsewhere.replaceChildren(...matching.slice(0, 60).map(link));
        elsewhere.hidden = !matching.length;
      }
      const mark = only ? only.value : "";
      const marked = new Set(mark ? all(only.dataset.only).filter((thing) => (thing.dataset.marks || "").split(" ").includes(mark)) : things);
      things.forEach((thing, at) => {
        thing.hidden = !(fits(words, names[at]) && marked.has(thing));
      });
    };
    input.addEventListener("input", choose);
    if (only) only.addEventListener("change", choose);
    input.addEventListener("keydown", (event) => {
      const first = things.find((thing) => !thing.hidden) || (elsewhere && elsewhere.firstElementChild);
      if (event.key === "Enter" && first && input.value) location.href = first.href;
      if (event.key === "Escape") { input.value = ""; input.dispatchEvent(new Event("input")); input.blur(); }
    });
  });

  // The order: by number as in the page, or by one of the units' numbers from high to low, those without it last.
  all("select[data-order]").forEach((select) => {
    const box = one(select.dataset.order);
    const units = [...box.children];
    select.addEventListener("change", () => {
      const by = select.value;
      const value = (unit) => by in unit.dataset ? Number(unit.dataset[by]) : -Infinity;
      box.append(...(by ? [...units].sort((a, b) => value(b) - value(a) || units.indexOf(a) - units.indexOf(b)) : units));
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
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=search], select, textarea")) return;
    const does = {
      ArrowLeft: () => go('link[rel="prev"]'), k: () => go('link[rel="prev"]'),
      ArrowRight: () => go('link[rel="next"]'), j: () => go('link[rel="next"]'),
      "[": () => go('link[data-rel="layer-before"]'), "]": () => go('link[data-rel="layer-after"]'),
      u: () => go('link[rel="up"]'), s: () => cycle("colours"), t: () => cycle("style"), "?": help,
      f: () => cycle("form"), i: () => cycle("iterate"), "/": () => { const input = one("input[data-filter]"); if (input) input.focus(); },
    }[event.key];
    if (does) { event.preventDefault(); does(); }
  });
})();
