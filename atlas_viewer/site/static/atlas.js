// Search, lens, order and filter, keys, copying, and a memory for the switches. Every page works without it.
(() => {
  "use strict";
  document.documentElement.classList.add("scripted");
  const one = (query) => document.querySelector(query);
  const all = (query) => [...document.querySelectorAll(query)];
  const make = (tag, about, ...within) => { const made = Object.assign(document.createElement(tag), about); made.append(...within); return made; };
  const plain = (text) => {
    const lower = text.toLowerCase().replace(/\s+/g, " ").trim();
    return /^[ -~]*$/.test(lower) ? lower : lower.normalize("NFD").replace(/\p{M}/gu, ""); // é is found as e
  };
  // Calls of a script's function `name` with its data, loaded once: a page on a disk can load scripts, and nothing else.
  const scripts = {};
  const loaded = (name, src) => scripts[src] = scripts[src] || new Promise((resolve, reject) => {
    window[name] = resolve;
    document.head.append(make("script", { src, onerror: reject }));
  });
  const go = (query) => { const link = one(query); if (link) location.href = link.href; };

  // The state of the switches: colours, form and iterate by name; the view by its place among the styles or the runs
  // (dgn-0, …), or as "images". The address keeps it, for shared links, and so does the browser's storage where that
  // is allowed. A page without one of the switches passes on its earlier state. The address also has which units of a
  // layer were chosen, and their order; that is of one page, and not passed on.
  let before = new URLSearchParams(), query = new URLSearchParams(), choose = () => {};
  const QUERY = ["label", "order", "reverse", "show", "part"];
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
  const isState = (hash) => /^#(colours|style|form|iterate|label|order|reverse|show|part)=/.test(hash);
  const set = (id) => { const input = document.getElementById(id); if (input) input.checked = true; };
  const apply = (state) => {
    query = new URLSearchParams();
    for (const name of QUERY) {
      if (state.get(name)) query.set(name, state.get(name));
      state.delete(name);
    }
    before = state;
    set("colours-" + (state.get("colours") || "stretched"));
    set("form-" + (state.get("form") || "raw"));
    set("iterate-" + (state.get("iterate") || "last"));
    if (state.has("style")) set("style-" + state.get("style"));
  };
  const address = (asked) => [chosen(), asked].map(String).filter(Boolean).join("&");
  const remember = () => {
    store((kept) => kept.setItem("atlas", chosen().toString()));
    if (!location.hash || isState(location.hash)) {
      const state = address(query);
      history.replaceState(null, "", state ? "#" + state : location.pathname + location.search);
    }
  };
  const kept = isState(location.hash) ? location.hash.slice(1) : store((box) => box.getItem("atlas"));
  if (kept) apply(new URLSearchParams(kept));
  all("input.switch").forEach((input) => input.addEventListener("change", remember));
  addEventListener("hashchange", () => {
    if (isState(location.hash)) apply(new URLSearchParams(location.hash.slice(1)));
    else if (!location.hash) query = new URLSearchParams();
    else return;
    choose();
  });
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

  // The filter of a list: every word must be in the name, or begin the number.
  const fits = (words, number, name) => words.every((word) => /^\d+$/.test(word) ? number.startsWith(word) : name.includes(word));
  all("input[data-filter]").forEach((input) => {
    const things = all(input.dataset.filter);
    const names = things.map((thing) => plain(`${thing.textContent} ${thing.dataset.more || ""}`));
    const filter = () => {
      const words = plain(input.value).split(" ").filter(Boolean);
      things.forEach((thing, at) => { thing.hidden = !fits(words, names[at].split(" ")[0], names[at]); });
    };
    input.addEventListener("input", filter);
    input.addEventListener("keydown", (event) => {
      const first = things.find((thing) => !thing.hidden);
      if (event.key === "Enter" && first && input.value) location.href = first.href;
      if (event.key === "Escape") { input.value = ""; filter(); input.blur(); }
    });
  });

  // Order and filter of all units of a layer: they are loaded at the first use, and the page shows those that were
  // chosen, so many at a time, in place of its own. Their pictures are loaded when they come into view.
  const chooser = one("#choose");
  if (chooser) {
    const SHOWN = 200, NEAR = 4;
    const box = one("#montage"), parts = one("#parts"), status = one("#chosen"), own = [...box.children];
    const inputs = Object.fromEntries([...chooser.querySelectorAll("[name]")].map((input) => [input.name, input]));
    const whole = all(".whole"); // what is said of the page's own units
    const sheet = document.head.appendChild(document.createElement("style")).sheet, dressed = new Set();
    let units = null;

    const read = ({ units: numbers, labels, ...more }) => {
      const all = typeof numbers === "number" ? Array.from({ length: numbers }, (_, at) => at) : numbers;
      const words = all.map(() => []);
      for (const [word, about, rows] of more.words) rows.forEach((row) => words[row].push([word, about]));
      return { ...more, words, numbers: all, order: more.numbers, labels, plain: labels.map(plain) };
    };
    const dress = (number) => { // the pictures of some units, as the style sheet of the page has them for its own
      if (dressed.has(number)) return;
      dressed.add(number);
      const many = units.views.length > 1;
      for (const { id, files, values } of units.views) {
        if (!values.slice(number * units.cells, (number + 1) * units.cells).some((value) => value !== 0)) continue;
        for (const [form, file] of files) {
          const when = (form === "true" ? "#colours-true:checked ~ " : "") + (many ? `#style-${id}:checked ~ ` : "");
          sheet.insertRule(`${when}.content .montage { --b${number}: url(${file.replace("*", number + 1)}) }`, sheet.cssRules.length);
        }
      }
      sheet.insertRule(`.b${number} { background-image: var(--b${number}) }`, sheet.cssRules.length);
    };
    const seen = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        seen.unobserve(target);
        dress(Number(target.dataset.sprite));
        target.classList.add(`b${target.dataset.sprite}`);
      }
    });
    const cell = (row) => {
      const number = units.numbers[row], label = units.labels[row] || "", [brief, why] = units.why[row] || ["", ""];
      const many = units.views.length > 1;
      const by = ({ id }, kind) => many ? `${kind} by by-${id}` : kind;
      const made = make("a", { id: `u${number}`, href: `${number}.html`, title: why });
      const tile = make("span", { className: "tile" }), cap = make("span", { className: "cap" }, make("b", { textContent: number }));
      tile.dataset.sprite = Math.floor(row / units.cells);
      tile.style.cssText = `--x:${row % units.cells}`;
      for (const view of units.views) {
        const value = view.values[row];
        if (value === 0) tile.append(make("span", { className: by(view, "gap") }, make("span", { textContent: brief || "none" })));
        cap.append(make("span", { className: by(view, "num"), textContent: value === 0 ? "–" : value }));
      }
      if (!units.views.length) tile.append(make("span", { className: "gap" }, make("span", { textContent: "no picture" })));
      made.append(tile, cap);
      if (label) made.append(make("span", { className: "label", title: label, textContent: label.split(",")[0] }));
      const words = units.words[row];
      if (words.length) made.append(make("span", { className: "marks" }, ...words.map(([word, about]) => make("span", { title: about, textContent: word }))));
      seen.observe(tile);
      return made;
    };
    const sorted = (rows, by, reverse) => {
      const turn = reverse ? -1 : 1;
      if (by === "label") {
        const name = (row) => units.plain[row] || "";
        return rows.sort((a, b) => !name(a) - !name(b) || turn * name(a).localeCompare(name(b), "en", { numeric: true }) || a - b);
      }
      const values = units.order[by];
      if (!values) return reverse ? rows.reverse() : rows;
      return rows.sort((a, b) => (values[a] === null) - (values[b] === null) || turn * (values[b] - values[a]) || a - b);
    };
    const steps = (part, last) => {
      const link = (at) => {
        const asked = new URLSearchParams(query);
        asked.set("part", at);
        return at === part ? make("b", { textContent: at }) : make("a", { href: `#${address(asked)}`, textContent: at });
      };
      const near = Array.from({ length: last }, (_, at) => at + 1).filter((at) => at === 1 || at === last || Math.abs(at - part) <= NEAR);
      parts.replaceChildren("Page", ...near.map(link));
      parts.hidden = last < 2;
    };
    const draw = async () => {
      const asked = query.toString();
      for (const [name, input] of Object.entries(inputs)) {
        if (input.type === "checkbox") input.checked = query.has(name);
        else if (document.activeElement !== input || input.value.trim() !== (query.get(name) || "")) input.value = query.get(name) || "";
      }
      if (asked && !units) {
        status.textContent = "Loading the units…";
        try { units = read(await loaded("atlasUnits", chooser.dataset.units)); } catch {
          document.documentElement.classList.remove("choosing");
          status.textContent = `The units could not be loaded: ${chooser.dataset.units} is missing.`;
          return;
        }
        if (asked !== query.toString()) return; // it was changed meanwhile
      }
      whole.forEach((each) => { each.hidden = Boolean(asked); });
      seen.disconnect();
      if (!asked) {
        box.replaceChildren(...own);
        parts.hidden = true;
        status.textContent = "";
        return;
      }
      const words = plain(query.get("label") || "").split(" ").filter(Boolean), mark = query.get("show");
      const marked = mark ? new Set(units.marks[mark]) : null;
      const rows = units.numbers.map((_, row) => row).filter((row) => (!marked || marked.has(row)) && fits(words, `${units.numbers[row]}`, units.plain[row] || ""));
      const last = Math.max(1, Math.ceil(rows.length / SHOWN)), part = Math.min(last, Math.max(1, Number(query.get("part")) || 1));
      const shown = sorted(rows, query.get("order"), query.has("reverse")).slice((part - 1) * SHOWN, part * SHOWN);
      box.replaceChildren(...shown.map(cell));
      document.documentElement.classList.remove("choosing");
      steps(part, last);
      const count = (number) => number.toLocaleString("en");
      status.textContent = !rows.length ? "No unit matches." : `${count(rows.length)} of ${count(units.numbers.length)} units${last > 1 ? `, ${count((part - 1) * SHOWN + 1)} to ${count(Math.min(part * SHOWN, rows.length))} on this page` : ""}.`;
    };
    const ask = () => {
      query = new URLSearchParams();
      for (const [name, input] of Object.entries(inputs)) {
        const value = input.type === "checkbox" ? (input.checked ? "1" : "") : input.value.trim();
        if (value) query.set(name, value);
      }
      const state = address(query);
      history.replaceState(null, "", state ? "#" + state : location.pathname + location.search);
      draw();
    };
    choose = () => { draw(); if (query.has("part")) chooser.scrollIntoView(); };
    chooser.addEventListener("input", ask);
    inputs.label.addEventListener("keydown", (event) => {
      const first = box.querySelector("a");
      if (event.key === "Enter" && first && inputs.label.value) first.click();
      if (event.key === "Escape") { inputs.label.value = ""; ask(); inputs.label.blur(); }
    });
    if (`${query}`) draw();
  }

  // The search: the names of all layers and units are loaded when it is first used. An address or a layer's name comes
  // first, then labels that begin with the words, then labels with words that do, then labels that contain them.
  const finder = one("#find");
  const SHOWN = 40;
  let named = null, find = () => {}, wander = () => {};
  const load = () => {
    named = named || loaded("atlasFind", finder.dataset.names).then((layers) => {
      const entries = [];
      for (const [layer, folder, units, labels] of layers) {
        const numbers = typeof units === "number" ? Array.from({ length: units }, (_, at) => at) : units;
        entries.push({ address: plain(layer), label: "", shown: ["layer", layer], href: `${folder}/index.html`, layer: true });
        numbers.forEach((unit, at) => {
          const label = labels[at] || "";
          entries.push({ address: `${plain(layer)}:${unit}`, label: label && plain(label), shown: [`${layer}:${unit}`, label], href: `${folder}/${unit}.html` });
        });
      }
      return entries;
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
  const content = one("main .content");
  const tiles = all(".content .tile").filter((tile) => !tile.closest("a") && !tile.classList.contains("gap"));
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
    caption.append(Object.assign(document.createElement("p"), { className: "small", textContent: `${title ? `${title.textContent.trim()}: ` : ""}${image.alt}; ${wide} × ${high} pixels here` }));
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
  if (content && tiles.length) {
    Object.assign(lens, { id: "lens", tabIndex: -1 });
    lens.setAttribute("aria-label", "A picture, enlarged");
    content.append(lens);
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

  // What scrolls and has nothing to focus, such as a wide table, can be reached by the keyboard.
  const reach = () => all(".scroll, main pre").forEach((box, at) => {
    const fits = box.scrollWidth <= box.clientWidth && box.scrollHeight <= box.clientHeight;
    if (fits || box.querySelector("a, button, summary, [tabindex]")) return;
    const title = box.closest("section") && box.closest("section").querySelector("h1, h2");
    const name = `${title ? title.textContent.trim() : "Table"}, scrolls (${at + 1})`; // no two of a page are the same
    for (const [key, value] of [["tabindex", "0"], ["role", "region"], ["aria-label", name]]) box.setAttribute(key, value);
  });
  // … and fades at its right edge while there is more.
  const fade = (box) => box.classList.toggle("more-right", box.scrollLeft + box.clientWidth < box.scrollWidth - 4);
  const wide = all(".scroll, .contents");
  const fadeAll = () => wide.forEach(fade);
  wide.forEach((box) => box.addEventListener("scroll", () => fade(box), { passive: true }));
  addEventListener("resize", fadeAll);
  document.addEventListener("toggle", fadeAll, true);
  fadeAll();
  addEventListener("resize", reach);
  document.addEventListener("toggle", reach, true); // of a table that was folded
  reach();

  // The table of contents marks the section at the top of the window.
  const entries = all(".contents a").map((link) => [link, document.getElementById(link.hash.slice(1))]).filter(([, section]) => section);
  if (entries.length) {
    const mark = () => {
      const passed = entries.filter(([, section]) => section.getBoundingClientRect().top < innerHeight * 0.3);
      entries.forEach(([link]) => link.classList.toggle("here", passed.length > 0 && link === passed[passed.length - 1][0]));
    };
    addEventListener("scroll", mark, { passive: true });
    mark();
  }

  const cycle = (name) => {
    const inputs = all(`input[name="${name}"]`);
    const at = inputs.findIndex((input) => input.checked);
    if (inputs.length) { inputs[(at + 1) % inputs.length].checked = true; remember(); }
  };
  const keys = one("#keys");
  all("#keys [data-needs]").forEach((key) => { key.hidden = !one(key.dataset.needs); }); // those that do something here
  const help = () => { if (keys.open) keys.close(); else keys.showModal(); };
  all("button.help").forEach((button) => button.addEventListener("click", help));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=search], select, textarea")) return;
    if (event.target.matches("input[type=radio]") && event.key.startsWith("Arrow")) return; // they choose within the group
    const does = {
      ArrowLeft: () => go('link[rel="prev"]'), k: () => go('link[rel="prev"]'),
      ArrowRight: () => go('link[rel="next"]'), j: () => go('link[rel="next"]'),
      "[": () => go('link[data-rel="layer-before"]'), "]": () => go('link[data-rel="layer-after"]'),
      u: () => go('link[rel="up"]'), s: () => cycle("colours"), t: () => cycle("style"), "?": help,
      g: () => find(), r: () => wander(), f: () => cycle("form"), i: () => cycle("iterate"), "/": () => { const input = one("input[data-filter], #choose input[type=search]"); if (input) input.focus(); },
    }[event.key];
    if (does) { event.preventDefault(); does(); }
  });
})();
