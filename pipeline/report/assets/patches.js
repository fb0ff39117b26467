// Contact sheets, and a patch by itself: its views, its recipe, its camera's curve, its place in the source.
(() => {
  const all = data.patches;
  const nearest = 8; // patches on either side of the threshold
  const root = document.documentElement;
  root.style.setProperty("--views", data.views.length);
  root.style.setProperty("--tile", 0);

  const nameOf = (patch) => data.sources[patch.source]?.name ?? "an unknown source";
  const told = (patch) => `patch ${patch.k} of ${nameOf(patch)}, frame ${patch.frame}`;
  const isOut = (patch) => patch.verdict === "unsaturated" || (patch.score !== null && patch.score < decided.threshold);

  function picture(patch, view, label) {
    if (!patch.strip) return element("span", { className: "tile none", textContent: "no picture" });
    const image = element("img", { src: patch.strip, alt: label, loading: "lazy", draggable: false });
    const tile = element("span", { className: "tile" }, image);
    if (view !== null) tile.style.setProperty("--tile", view);
    return tile;
  }

  function button(patch, sheet) {
    // Cut off, not rounded: a score below the threshold never reads like the threshold.
    const score = patch.score === null ? "" : (Math.floor(patch.score * 1000 + 1e-6) / 1000).toFixed(3);
    const caption = element("span", { className: "score", textContent: score });
    const made = element("button", { type: "button", className: "patch" }, picture(patch, null, told(patch)), caption);
    made.dataset.number = all.indexOf(patch);
    made.classList.toggle("out", isOut(patch));
    made.addEventListener("click", () => open(patch, sheet));
    return made;
  }

  const ladder = data.ladder.map((number) => all[number]);

  function around(threshold) {
    const [above, below] = [document.getElementById("above"), document.getElementById("below")];
    let middle = ladder.findIndex((patch) => patch.score >= threshold);
    if (middle < 0) middle = ladder.length;
    const sides = [[above, ladder.slice(middle, middle + nearest)],
      [below, ladder.slice(Math.max(0, middle - nearest), middle).reverse()]];
    for (const [place, patches] of sides) {
      place.replaceChildren(...patches.map((patch) => button(patch, patches)));
      if (!patches.length) place.append(element("p", { className: "quiet", textContent: "No patch is shown here." }));
    }
  }

  function showSheets() {
    const place = document.getElementById("sheets");
    if (!place) return;
    for (const [name, numbers] of Object.entries(data.sheets)) {
      if (!numbers.length) continue;
      const patches = numbers.map((number) => all[number]);
      place.append(element("h3", { textContent: name[0].toUpperCase() + name.slice(1) }),
        element("div", { className: "sheet" }, ...patches.map((patch) => button(patch, patches))));
    }
    const views = document.getElementById("views");
    [...data.views, "All"].forEach((name, i) => {
      const choice = element("input", { type: "radio", name: "view", checked: i === 0 });
      choice.addEventListener("change", () => {
        root.classList.toggle("all", i === data.views.length);
        root.style.setProperty("--tile", i % data.views.length);
      });
      views.append(element("label", {}, choice, name));
    });
  }

  const mark = () => {
    for (const shown of document.querySelectorAll("#sheets .patch")) {
      shown.classList.toggle("out", isOut(all[shown.dataset.number]));
    }
  };

  // One patch.
  const dialog = document.getElementById("patch");
  let [current, beside] = [null, []];

  function open(patch, sheet) {
    [current, beside] = [patch, sheet];
    const find = (id) => document.getElementById(id);
    find("patch-name").textContent = `${nameOf(patch)}, frame ${patch.frame}, patch ${patch.k}`;
    find("patch-about").textContent = about(patch);
    find("tiles").replaceChildren(...data.views.map((view, i) => element("figure", {},
      picture(patch, i, `${view} of ${told(patch)}`), element("figcaption", { textContent: view }))));
    find("recipe").replaceChildren(...recipe(patch).flatMap(([name, value]) =>
      [element("dt", { textContent: name }), element("dd", { textContent: value })]));
    find("curve").replaceChildren(curve(patch));
    find("place").replaceChildren(place(patch));
    if (!dialog.open) dialog.showModal();
  }

  function about(patch) {
    const drawn = { source: "Rendered from its source.", bank: "Read from the bank's arrays: its source cannot be read." };
    const word = patch.verdict ? patch.verdict[0].toUpperCase() + patch.verdict.slice(1) : "Not scored yet";
    const verdict = `${word}${patch.verdict_reason ? `: ${patch.verdict_reason}` : ""}. `;
    return `${verdict}${patch.strip ? drawn[patch.origin] : `There is no picture: ${patch.reason}.`}`;
  }

  function recipe(patch) {
    const fixed = (value, digits) => (value === null ? "not yet" : value.toFixed(digits));
    const size = patch.height === patch.patch_size ? "" : `, resized to ${patch.patch_size}`;
    return [
      ["Score", fixed(patch.score, 4)],
      ["Saturated", patch.saturated_fraction === null ? "not yet" : `${(100 * patch.saturated_fraction).toFixed(2)} %`],
      ["Dynamic range", patch.stops === null ? "not measured" : `${patch.stops.toFixed(1)} stops`],
      ["Window", `x ${patch.x}, y ${patch.y}, ${patch.width}×${patch.height}${size}${patch.flip ? ", mirrored" : ""}`],
      ["Clipped at", patch.clip_fraction === null ? "not yet" : `the ${(100 * patch.clip_fraction).toFixed(2)} % quantile`],
      ["Exposure", patch.exposure === null ? "not yet"
        : `${patch.exposure.toPrecision(5)} (${Math.log2(patch.exposure).toFixed(2)} stops)`],
      ["Noise", `σ ${fixed(patch.noise_sigma, 5)} of the clipping level`],
      ["Hue", `${fixed(patch.hue_shift, 2)}°`],
      ["Saturation", fixed(patch.saturation_shift, 3)],
      ["Curve", `n ${fixed(patch.curve_n, 3)}, σ ${fixed(patch.curve_sigma, 3)}`],
      ["JPEG quality", patch.jpeg_quality === 0 ? "not compressed" : String(patch.jpeg_quality ?? "not yet")],
      ["Seed", patch.seed],
      ["Split", patch.split ?? "none"],
      ["Row in the arrays", patch.row === null ? "not exported" : String(patch.row)],
      ["Patch", patch.id],
    ];
  }

  const svg = (name, attributes, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  // f(H) = (1 + s) H^n / (H^n + s), Eilertsen et al. 2017: as pipeline/camera.py has it.
  function curve(patch) {
    if (patch.curve_n === null) return element("p", { textContent: "The camera was not drawn yet." });
    const points = [];
    for (let i = 0; i <= 100; i += 1) {
      const power = (i / 100) ** patch.curve_n;
      const value = i === 0 ? 0 : ((1 + patch.curve_sigma) * power) / (power + patch.curve_sigma);
      points.push(`${20 + 2.6 * i},${(170 - 150 * Math.min(1, value)).toFixed(2)}`);
    }
    const label = `Camera curve, n ${patch.curve_n.toFixed(3)}, sigma ${patch.curve_sigma.toFixed(3)}`;
    const text = (x, y, anchor, words) =>
      svg("text", { x, y, "text-anchor": anchor, "font-size": 11, fill: "var(--quiet)" }, words);
    return svg("svg", { viewBox: "0 0 300 200", role: "img", "aria-label": label },
      svg("path", { d: "M20 20V170H280", fill: "none", stroke: "var(--quiet)" }),
      svg("path", { d: "M20 170L280 20", stroke: "var(--rest)", "stroke-dasharray": "3 4" }),
      svg("polyline", { points: points.join(" "), fill: "none", stroke: "var(--kept)", "stroke-width": 2.5 }),
      text(280, 188, "end", "scene light, 1 = clipping"), text(14, 24, "end", "1"), text(14, 174, "end", "0"));
  }

  function place(patch) {
    const source = data.sources[patch.source];
    if (!source?.width) return element("p", { textContent: "The size of the source is not known." });
    const box = element("span", { className: "window" });
    const share = (part, whole) => `${(100 * part) / whole}%`;
    Object.assign(box.style, { left: share(patch.x, source.width), top: share(patch.y, source.height),
      width: share(patch.width, source.width), height: share(patch.height, source.height) });
    const frame = element("span", { className: "frame" });
    if (patch.place) {
      frame.append(element("img", { src: patch.place, alt: `Frame ${patch.frame} of ${source.name}, the window marked` }));
    } else { // nothing but its shape is left
      Object.assign(frame.style, { width: "18rem", aspectRatio: `${source.width} / ${source.height}` });
    }
    frame.append(box);
    return frame;
  }

  function step(by) {
    const number = beside.indexOf(current);
    open(beside[(number + by + beside.length) % beside.length], beside);
  }

  document.getElementById("back").addEventListener("click", () => step(-1));
  document.getElementById("next").addEventListener("click", () => step(1));
  document.getElementById("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      step(event.key === "ArrowLeft" ? -1 : 1);
      event.preventDefault();
    }
  });

  showSheets();
  if (document.getElementById("above")) decided.listeners.push(around);
  decided.listeners.push(mark);
  decided.start?.();
})();
