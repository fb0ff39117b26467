"use strict";
// The threshold: counts, shares by source and marks at any value. Nothing is fetched: all numbers stand in the page.
const data = JSON.parse(document.getElementById("data").textContent);
const count = (number) => number.toLocaleString("en");
const decided = { threshold: data.threshold?.threshold ?? 0, listeners: [] };

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

(() => {
  const told = data.threshold;
  if (!told) return;
  const [slide, field] = [document.getElementById("slide"), document.getElementById("limit")];
  const [plot, command, shares] = ["plot", "command", "shares"].map((id) => document.getElementById(id));
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
  const scores = new Float64Array(bytes(told.scores)); // rising
  const sources = new Int32Array(bytes(told.sources));
  const above = told.sampled ? new Uint32Array(bytes(told.above)) : null; // kept at each multiple of 10^-digits
  const unit = 10 ** told.digits;
  const steps = Number(slide.max);

  // How many patches one of the sample stands for, by source; 1 where all are here.
  const weights = new Float64Array(data.sources.length + 1).fill(1);
  if (told.sampled) {
    const taken = new Float64Array(weights.length);
    for (const source of sources) taken[source + 1] += 1;
    data.sources.forEach((source, i) => { if (taken[i + 1]) weights[i + 1] = source.saturated / taken[i + 1]; });
  }

  function firstAtOrAbove(threshold) {
    let [low, high] = [0, scores.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (scores[middle] < threshold) low = middle + 1; else high = middle;
    }
    return low;
  }

  // A patch is kept where it is saturated enough and its score is not below the threshold.
  function keptAt(threshold) {
    if (!above) return scores.length - firstAtOrAbove(threshold);
    if (threshold === told.threshold) return told.kept;
    return above[Math.min(above.length - 1, Math.round(threshold * unit))];
  }

  function showShares(threshold) {
    const kept = new Float64Array(weights.length);
    for (let i = firstAtOrAbove(threshold); i < scores.length; i += 1) kept[sources[i] + 1] += weights[sources[i] + 1];
    const total = kept.reduce((a, b) => a + b, 0);
    const order = [...kept.keys()].filter((i) => kept[i] > 0).sort((a, b) => kept[b] - kept[a] || a - b);
    const rows = order.slice(0, 11).map((i) => [data.sources[i - 1]?.name ?? "unknown", kept[i]]);
    const others = order.slice(11).reduce((sum, i) => sum + kept[i], 0);
    if (others) rows.push([`${count(order.length - 11)} more sources`, others]);
    shares.replaceChildren(...rows.map(([name, number]) => {
      const share = (100 * number) / total;
      const bar = element("i");
      bar.style.width = `${share}%`;
      const label = `${told.sampled ? "about " : ""}${count(Math.round(number))} · ${share.toFixed(1)} %`;
      return element("li", {}, element("span", { textContent: name, title: name }),
        element("span", { textContent: label }), element("span", { className: "track" }, bar));
    }));
    if (!rows.length) shares.append(element("li", { textContent: "No patch is kept." }));
  }

  const settle = (threshold) => // on the grid of exact counts; the bank's own is exact wherever it lies
    threshold === told.threshold ? threshold : Math.min(above.length - 1, Math.max(0, Math.round(threshold * unit))) / unit;

  function decide(wanted, typed = false) {
    const threshold = above ? settle(wanted) : wanted;
    decided.threshold = threshold;
    const place = Math.min(1, Math.sqrt(Math.max(0, threshold) / told.top));
    const kept = keptAt(threshold);
    document.getElementById("kept").textContent = `${count(kept)} kept`;
    document.getElementById("rest").textContent = `${((100 * kept) / Math.max(1, told.scored)).toFixed(1)} % of ` +
      `${count(told.scored)} · ${count(told.saturated - kept)} smooth · ${count(told.scored - told.saturated)} unsaturated`;
    document.getElementById("line").style.left = `${100 * place}%`;
    document.getElementById("left-box").setAttribute("width", 1000 * place);
    document.getElementById("right-box").setAttribute("x", 1000 * place);
    if (!typed || threshold !== wanted) field.value = String(threshold);
    if (document.activeElement !== slide || Number(slide.value) !== Math.round(steps * place)) slide.value = steps * place;
    slide.setAttribute("aria-valuetext", `${threshold}, ${count(kept)} patches kept`);
    command.textContent = `hdrprep score --threshold ${threshold} --bank ${quoted(command.dataset.bank)}`;
    showShares(threshold);
    for (const listener of decided.listeners) listener(threshold);
  }

  const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\"'\"'")}'`);
  const at = (place) => Math.round(told.top * place * place * unit) / unit; // place in [0, 1] along the axis

  slide.addEventListener("input", () => decide(at(Number(slide.value) / steps)));
  field.step = 1 / unit;
  field.addEventListener("input", () => {
    if (field.value !== "" && Number.isFinite(field.valueAsNumber)) decide(field.valueAsNumber, true);
  });
  document.getElementById("reset").addEventListener("click", () => decide(told.threshold));
  const drag = (event) => {
    const box = plot.getBoundingClientRect();
    decide(at(Math.min(1, Math.max(0, (event.clientX - box.left) / box.width))));
  };
  plot.addEventListener("pointerdown", (event) => { plot.setPointerCapture(event.pointerId); drag(event); });
  plot.addEventListener("pointermove", (event) => { if (plot.hasPointerCapture(event.pointerId)) drag(event); });
  decided.start = () => decide(told.threshold);
})();
