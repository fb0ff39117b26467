"use strict";
// The viewer and the sortable tables. Nothing is fetched: pictures are files beside the page, numbers stand in it.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);

  // Tables: click a head to sort by it, click again to turn round.
  for (const button of document.querySelectorAll("th button")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = head.closest("table").tBodies[0];
      const value = (row) => row.cells[head.cellIndex].dataset.value ?? "";
      const order = (a, b) => {
        if (value(a) === "" || value(b) === "") return (value(a) === "") - (value(b) === "");
        const [x, y] = [Number(value(a)), Number(value(b))];
        const found = Number.isNaN(x - y) ? value(a).localeCompare(value(b)) : x - y;
        return up ? found : -found;
      };
      body.append(...[...body.rows].sort(order));
    });
  }

  const viewer = document.getElementById("viewer");
  if (!viewer) return;
  const chosen = document.getElementById("picture");
  const slider = document.getElementById("exposure");
  const told = document.getElementById("stops");
  const panels = document.getElementById("panels");
  const functions = document.querySelectorAll("#expose feFuncR, #expose feFuncG, #expose feFuncB");
  const state = { zoom: 1, x: 0, y: 0 }; // x, y: corner of what is seen, in shares of the picture

  // Code values to light, light to the display: the counterpart of model/evaluation/previews.py.
  function expose() {
    const factor = 2 ** Number(slider.value);
    const table = [];
    for (let code = 0; code < 256; code += 1) {
      const light = ((2 ** ((code / 255) * data.stops) - 1) / data.slope) * factor;
      table.push((Math.min(1, light) ** (1 / 2.2)).toFixed(4));
    }
    for (const f of functions) f.setAttribute("tableValues", table.join(" "));
    const stops = Number(slider.value);
    told.textContent = `${stops > 0 ? "+" : ""}${stops.toFixed(1)} stops`;
  }

  function place() {
    state.zoom = Math.min(32, Math.max(1, state.zoom));
    state.x = Math.min(1 - 1 / state.zoom, Math.max(0, state.x));
    state.y = Math.min(1 - 1 / state.zoom, Math.max(0, state.y));
    for (const view of panels.querySelectorAll(".view")) {
      const image = view.firstElementChild;
      view.classList.toggle("near", state.zoom > 1);
      image.style.transform = `scale(${state.zoom}) translate(${-100 * state.x}%, ${-100 * state.y}%)`;
      image.style.imageRendering = state.zoom > 4 ? "pixelated" : "auto";
    }
    viewer.dataset.zoom = state.zoom.toFixed(3);
  }

  function zoom(factor, u = 0.5, v = 0.5) { // the point (u, v) of the view stays where it is
    const before = state.zoom;
    state.zoom = Math.min(32, Math.max(1, before * factor));
    state.x += u / before - u / state.zoom;
    state.y += v / before - v / state.zoom;
    place();
  }

  function panel(name, file, title, numbers) {
    const figure = document.createElement("figure");
    const view = document.createElement("div");
    view.className = "view";
    view.tabIndex = 0;
    view.setAttribute("role", "group");
    view.setAttribute("aria-label", `${name}: zoom with plus and minus, move with the arrow keys`);
    const image = document.createElement("img");
    image.src = file;
    image.alt = name === data.reference ? `${title}, ground truth` : `${title}, by ${name}`;
    image.draggable = false;
    view.append(image);
    const caption = document.createElement("figcaption");
    const strong = document.createElement("strong");
    strong.textContent = name;
    const small = document.createElement("small");
    small.textContent = numbers ? ` ${numbers}` : "";
    caption.append(strong, small);
    figure.append(view, caption);
    listen(view);
    return figure;
  }

  function numbersOf(picture, method) {
    const numbers = picture.numbers[method] ?? {};
    return data.metrics.filter((m) => typeof numbers[m.name] === "number")
      .map((m) => `${m.label} ${numbers[m.name].toFixed(m.digits)}`).join(" · ");
  }

  function show() {
    const picture = data.pictures[chosen.selectedIndex];
    const share = `${(100 * picture.saturated_pixels).toFixed(1)} % of the pixels are saturated`;
    const from = [picture.attribution, picture.licence].filter(Boolean).join(", ");
    document.getElementById("about").textContent = [picture.title, share, from].filter(Boolean).join(" · ");
    panels.replaceChildren(
      ...data.methods.filter((m) => m in picture.previews)
        .map((m) => panel(m, picture.previews[m], picture.title, numbersOf(picture, m))),
      panel(data.reference, picture.reference, picture.title, ""),
    );
    place();
  }

  function step(by) {
    const count = data.pictures.length;
    chosen.selectedIndex = (chosen.selectedIndex + by + count) % count;
    show();
  }

  function reset() {
    Object.assign(state, { zoom: 1, x: 0, y: 0 });
    place();
  }

  function listen(view) {
    const fingers = new Map();
    const at = (event) => {
      const box = view.getBoundingClientRect();
      return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    };
    view.addEventListener("wheel", (event) => {
      if (state.zoom === 1 && event.deltaY > 0) return; // nothing to leave: the page scrolls
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 300), ...at(event));
    }, { passive: false });
    view.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, at(event));
      view.setPointerCapture(event.pointerId);
      view.classList.add("held");
    });
    view.addEventListener("pointermove", (event) => {
      const last = fingers.get(event.pointerId);
      if (!last) return;
      const now = at(event);
      if (fingers.size === 2) {
        const [other] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
        const far = (point) => Math.hypot(point[0] - other[0], point[1] - other[1]);
        if (far(last) > 0) zoom(far(now) / far(last), ...other);
      } else {
        state.x -= (now[0] - last[0]) / state.zoom;
        state.y -= (now[1] - last[1]) / state.zoom;
        place();
      }
      fingers.set(event.pointerId, now);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      view.addEventListener(end, (event) => {
        fingers.delete(event.pointerId);
        view.classList.remove("held");
      });
    }
    view.addEventListener("dblclick", (event) => (state.zoom > 1 ? reset() : zoom(4, ...at(event))));
    view.addEventListener("keydown", (event) => {
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      if (event.key in moves) {
        if (state.zoom === 1) return;
        state.x += (0.1 * moves[event.key][0]) / state.zoom;
        state.y += (0.1 * moves[event.key][1]) / state.zoom;
        place();
        event.preventDefault();
      }
    });
  }

  const keys = {
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: reset,
    n: () => step(1), p: () => step(-1), "]": () => brighten(0.5), "[": () => brighten(-0.5),
  };

  function brighten(by) {
    slider.value = Number(slider.value) + by;
    expose();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target instanceof HTMLSelectElement) return;
    if (event.key in keys) {
      keys[event.key]();
      event.preventDefault();
    }
  });
  chosen.addEventListener("change", show);
  slider.addEventListener("input", expose);
  document.getElementById("next").addEventListener("click", () => step(1));
  document.getElementById("back").addEventListener("click", () => step(-1));
  document.getElementById("in").addEventListener("click", () => zoom(1.5));
  document.getElementById("out").addEventListener("click", () => zoom(1 / 1.5));
  document.getElementById("reset").addEventListener("click", () => { slider.value = 0; expose(); reset(); });
  expose();
  show();
})();
