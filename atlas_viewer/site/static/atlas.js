// Search, lens, filter, order, keys, copying, and a memory for the switches. Every page works without it.
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

  // The search: the names of all layers and units are loaded when it is first used. An address or a layer's name comes
  // first, then labels that begin with the words, then labels with words that do, then labels that contain them.
  const finder = one("#find");
  const SHOWN = 40;
  const plain = (text) => {
    const lower = text.toLowerCase().replace(/\s+/g, " ").trim();
    return /^[ -~]*$/.test(lower) ? lower : lower.normalize("NFD").replace(/\p{M}/gu, ""); // é is found as e
  };
  let named = null, find = () => {}, wander = () => {};
  const load = () => {
    named = named || new Promise((resolve, reject) => {
      window.atlasFind = (layers) => {
        const entries = [];
        for (const [layer, folder, units, labels] of layers) {
          const numbers = typeof units === "number" ? Array.from({ length: units }, (_, at) => at) : units;
          entries.push({ address: plain(layer), label: "", shown: ["layer", layer], href: `${folder}/index.html`, layer: true });
          numbers.forEach((unit, at) => {
            const label = labels[at] || "";
            entries.push({ address: `${plain(layer)}:${unit}`, label: label && plain(label), shown: [`${layer}:${unit}`, label], href: `${folder}/${unit}.html` });
          });
        }
        resolve(entries);
      };
      const script = Object.assign(document.createElement("script"), { src: finder.dataset.names, onerror: reject });
      document.head.append(script);
    });
    return named;
  };
  // How well an entry fits, 0 best; -1 if it does not fit.
  const fit = (entry, text, words) => {
    if (entry.address === text) return 0;
    const number = /^\d+$/.test(text);
    if (number) return !entry.layer && entry.address.endsWith(`:${text}`) ? (entry.label ? 1 : 5) : -1;
    if (text.includes(":") || entry.layer) return entry.address.startsWith(text) ? 1 : entry.layer && entry.address.includes(text) ? 4 : -1;
    if (!entry.label || !words.every((word) => entry.label.includes(word))) return -1;
    if (entry.label.startsWith(text)) return 2;
    return words.every((word) => ` ${entry.label}`.includes(` ${word}`)) ? 3 : 4;
  };
  if (finder) {
    const input = finder.querySelector("input"), list = finder.querySelector("ol"), status = finder.querySelector("[role=status]");
    const look = async () => {
      const text = plain(input.value);
      let entries;
      try { entries = await load(); } catch { status.textContent = "The names could not be loaded: find.js is missing."; return; }
      if (text !== plain(input.value)) return; // it was changed meanwhile
      const words = text.split(" ").filter(Boolean);
      const groups = [[], [], [], [], [], []];
      let count = 0;
      for (const entry of words.length ? entries : []) {
        const rank = fit(entry, text, words);
        if (rank >= 0) { groups[rank].push(entry); count += 1; }
      }
      list.replaceChildren(...groups.flat().slice(0, SHOWN).map(({ shown: [address, label], href }) => {
        const item = document.createElement("li"), link = document.createElement("a");
        link.href = finder.dataset.root + href;
        link.append(Object.assign(document.createElement("b"), { textContent: label || address }));
        if (label) link.append(Object.assign(document.createElement("span"), { textContent: address }));
        item.append(link);
        return item;
      }));
      status.textContent = !words.length ? "" : !count ? `Nothing is called “${input.value.trim()}”.` : count > SHOWN ? `${SHOWN} of ${count.toLocaleString("en")}` : "";
    };
    wander = async () => {
      const units = (await load()).filter((entry) => !entry.layer);
      if (units.length) location.href = finder.dataset.root + units[Math.floor(Math.random() * units.length)].href + (chosen().toString() && `#${chosen()}`);
    };
    find = () => { if (!finder.open) { finder.showModal(); input.select(); look(); } };
    all("button.find").forEach((button) => button.addEventListener("click", find));
    finder.querySelector("button.random").addEventListener("click", wander);
    input.addEventListener("input", look);
    finder.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const first = list.querySelector("a");
      if (first) first.click();
    });
    finder.addEventListener("keydown", (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      event.stopPropagation();
      if (!step) return;
      event.preventDefault();
      const stops = [input, ...list.querySelectorAll("a")];
      const at = stops.indexOf(document.activeElement) + step;
      if (stops[at]) stops[at].focus();
    });
    finder.addEventListener("click", (event) => { if (event.target === finder) finder.close(); });
  }

  // The lens: a picture as large as the window allows, each of its pixels a square, with what stands under it.
  const main = one("main");
  const tiles = all("main .tile").filter((tile) => !tile.closest("a") && !tile.classList.contains("gap"));
  const lens = document.createElement("dialog");
  const look = (at) => {
    const tile = tiles[at], image = [...tile.querySelectorAll("img")].find((each) => each.offsetParent) || tile.querySelector("img");
    const whole = tile.getBoundingClientRect(), box = image.getBoundingClientRect();
    const wide = Math.max(1, Math.round(image.naturalWidth * whole.width / box.width)), high = Math.round(wide * whole.height / whole.width);
    const most = Math.min(innerWidth * 0.86 / wide, innerHeight * 0.66 / high);
    const figure = document.createElement("figure"), copy = tile.cloneNode(true), caption = document.createElement("figcaption");
    for (const name of ["tabindex", "role", "aria-label"]) copy.removeAttribute(name);
    copy.style.width = `${wide * (most > 1 ? Math.floor(most) : most)}px`;
    const under = tile.closest("figure") && tile.closest("figure").querySelector("figcaption");
    const title = tile.closest("section") && tile.closest("section").querySelector("h2");
    caption.append(Object.assign(document.createElement("p"), { className: "small", textContent: `${title ? `${title.textContent.trim()}: ` : ""}${under ? "" : `${image.alt}; `}${wide} × ${high} pixels here` }));
    if (under) caption.append(...[...under.cloneNode(true).childNodes]);
    figure.append(copy, caption);
    const button = (text, name, to) => {
      const made = Object.assign(document.createElement("button"), { type: "button", textContent: text, title: name, disabled: to !== null && !tiles[to] });
      made.addEventListener("click", () => { if (to === null) lens.close(); else look(to); });
      return made;
    };
    const steps = document.createElement("p");
    steps.append(button("←", "previous picture", at - 1), button("→", "next picture", at + 1), button("Close", "close (Esc)", null));
    lens.replaceChildren(figure, steps);
    lens.dataset.at = at;
    if (!lens.open) lens.showModal();
    lens.focus(); // the button that had it is gone
  };
  if (main && tiles.length) {
    Object.assign(lens, { id: "lens", tabIndex: -1 });
    lens.setAttribute("aria-label", "A picture, enlarged");
    main.append(lens);
    tiles.forEach((tile, at) => {
      const image = tile.querySelector("img");
      if (!image) return;
      for (const [name, value] of [["tabindex", "0"], ["role", "button"], ["aria-label", `Look closer: ${image.alt}`]]) tile.setAttribute(name, value);
      tile.classList.add("closer");
      tile.addEventListener("click", () => look(at));
      tile.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); look(at); } });
    });
    lens.addEventListener("keydown", (event) => {
      event.stopPropagation();
      const to = Number(lens.dataset.at) + ({ ArrowRight: 1, ArrowLeft: -1 }[event.key] || 0);
      if (to !== Number(lens.dataset.at) && tiles[to]) { event.preventDefault(); look(to); }
    });
    lens.addEventListener("close", () => tiles[Number(lens.dataset.at)].focus());
    lens.addEventListener("click", (event) => { if (event.target === lens) lens.close(); });
  }

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
      g: () => find(), r: () => wander(), f: () => cycle("form"), i: () => cycle("iterate"), "/": () => { const input = one("input[data-filter]"); if (input) input.focus(); },
    }[event.key];
    if (does) { event.preventDefault(); does(); }
  });
})();
