"use strict";
(() => {
  const PAGE = 12; // cards at a time
  const SHAPES = 5, COLOURS = 7;
  const SVG = "http://www.w3.org/2000/svg";
  const SPAN = 1000; // width of a strip in its own units
  const data = JSON.parse(document.getElementById("data").textContent);
  const { names, videos, map } = data;
  const hooks = {}; // what edit.js adds to a card
  const by = (id) => document.getElementById(id);
  const calm = matchMedia("(prefers-reduced-motion: reduce)");

  const clock = (seconds) => {
    const tenths = Math.round(seconds * 10);
    return `${Math.floor(tenths / 600)}:${String(Math.floor((tenths % 600) / 10)).padStart(2, "0")}.${tenths % 10}`;
  };
  const clusterName = (c) => names[c] || `cluster ${c}`;

  function element(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  function drawn(tag, attributes, title) {
    const node = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (title) node.append(Object.assign(document.createElementNS(SVG, "title"), { textContent: title }));
    return node;
  }

  function swatch(c) {
    const svg = drawn("svg", { class: `swatch c${c % COLOURS}`, viewBox: "-1.2 -1.2 2.4 2.4", "aria-hidden": "true" });
    svg.append(drawn("use", { href: `#shape-${c % SHAPES}` }));
    return svg;
  }

  // ------------------------------------------------------------------ curves

  const unpack = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

  /** Path of a curve of bytes in a box SPAN wide and 100 high; `close`: down to the base line and back. */
  function curvePath(bytes, video, close) {
    const x = (i) => ((video.start + i * video.step) / video.duration) * SPAN;
    let path = "";
    for (let i = 0; i < bytes.length; i++) path += `${i ? "L" : "M"}${x(i).toFixed(1)} ${(100 - bytes[i] / 2.6).toFixed(1)}`;
    if (bytes.length === 1) path = `M0 ${100 - bytes[0] / 2.6}H${SPAN}`;
    return close ? `${path}V100H${bytes.length > 1 ? x(0).toFixed(1) : 0}z` : path;
  }

  function strip(kind, label, strong, height, ...marks) {
    const svg = drawn("svg", { viewBox: `0 0 ${SPAN} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    svg.append(...marks);
    const text = element("span", { title: `${label} ${strong}`.trim() }, label, " ", element("b", {}, strong));
    return element("div", { class: `strip ${kind}` }, text, svg);
  }

  function bars(label, strong, segments, video) {
    const line = drawn("path", { class: "base", d: `M0 50H${SPAN}` });
    const marks = segments.map(({ start, end, thin, style, opacity, title }) => {
      const x = (start / video.duration) * SPAN, width = Math.max(2, ((end - start) / video.duration) * SPAN);
      return drawn("rect", { class: style, x, width, y: thin ? 42 : 18, height: thin ? 16 : 64, "fill-opacity": opacity }, title);
    });
    return strip("bars", label, strong, 100, line, ...marks);
  }

  function timeAxis(video) {
    const steps = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600];
    const step = steps.find((s) => video.duration / s <= 6) ?? 7200;
    const axis = element("div");
    for (let t = 0; t < video.duration - step * 0.35; t += step) {
      const tick = element("i", {}, step < 1 ? clock(t) : clock(t).slice(0, -2));
      tick.style.left = `${(t / video.duration) * 100}%`;
      if (!t) tick.style.transform = "none";
      axis.append(tick);
    }
    return element("div", { class: "strip axis", "aria-hidden": "true" }, axis);
  }

  // ------------------------------------------------------------------ one video

  /** Fill a card when it comes near the screen. */
  function fill(card, video) {
    const player = card.querySelector("video");
    if (player) player.src = video.url;
    const strips = card.querySelector(".strips"), readout = card.querySelector(".readout");
    const actionness = unpack(video.actionness.curves[0]);
    const activation = video.activation.curves.map(unpack);
    const curves = [drawn("path", { class: "area", d: curvePath(actionness, video, true) }), drawn("path", { class: "outline", d: curvePath(actionness, video) })];
    const built = [strip("curve", "actionness", "", 100, ...curves)];
    const lines = activation.map((bytes, i) => drawn("path", { class: `activation c${video.classes[i] % COLOURS}`, d: curvePath(bytes, video) }));
    built.push(strip("curve", "activation", "", 100, ...lines.reverse()));
    for (const c of video.classes) {
      const bar = (word, thin) => ([, start, end, value]) => ({ start, end, thin, style: `detection c${c % COLOURS}`, opacity: thin ? 0.2 : (0.35 + 0.65 * value).toFixed(2), title: `${clusterName(c)} ${clock(start)} to ${clock(end)}, ${word} ${value}` });
      const ofClass = (segments) => segments.filter((segment) => segment[0] === c);
      const segments = [...ofClass(video.found).map(bar("score", true)), ...ofClass(video.moments).map(bar("confidence", false))]; // moments are drawn last
      if (segments.length) {
        built.push(bars("found", clusterName(c), segments, video));
        built.at(-1).firstChild.prepend(swatch(c), " ");
      }
    }
    if (video.parts.length) built.push(bars("parts", "", video.parts.map(([c, start, end, selected]) => ({ start, end, style: `part c${c % COLOURS}`, opacity: selected ? 1 : 0.45, title: `${clusterName(c)} ${clock(start)} to ${clock(end)}${selected ? ", selected for training" : ""}` })), video));
    if (video.segments.length) built.push(bars("segments", "", video.segments.map(([c, start, end, score]) => ({ start, end, style: `part c${c % COLOURS}`, opacity: c < COLOURS ? 1 : 0.5, title: `${data.letters[c]} ${clock(start)} to ${clock(end)}, score ${score}` })), video));
    for (const label of new Set(video.truth.map((segment) => segment[0]))) {
      const own = video.truth.filter((segment) => segment[0] === label);
      built.push(bars("annotated", label, own.map(([, start, end]) => ({ start, end, style: "truth", opacity: 1, title: `${label} ${clock(start)} to ${clock(end)}` })), video));
    }
    strips.prepend(...built, timeAxis(video));

    const value = (pack, bytes, i) => (pack.low + (bytes[i] / 255) * (pack.high - pack.low)).toPrecision(2);
    const tell = (time) => {
      const i = Math.max(0, Math.min(actionness.length - 1, Math.round((time - video.start) / (video.step || 1))));
      const classes = video.classes.map((c, k) => `${clusterName(c)} ${value(video.activation, activation[k], i)}`);
      return `${clock(time)} · actionness ${value(video.actionness, actionness, i)} · ${classes.join(" · ")}`;
    };
    const show = (time) => {
      card.time = Math.max(0, Math.min(video.duration, time));
      strips.style.setProperty("--at", card.time / video.duration);
      strips.setAttribute("aria-valuenow", card.time.toFixed(1));
      strips.setAttribute("aria-valuetext", clock(card.time));
      readout.textContent = tell(card.time);
    };
    card.seek = (time) => {
      show(time);
      if (player) player.currentTime = card.time;
    };
    const timeAt = (event) => {
      const box = strips.querySelector("svg").getBoundingClientRect();
      return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width)) * video.duration;
    };
    strips.addEventListener("click", (event) => card.seek(timeAt(event)));
    strips.addEventListener("pointermove", (event) => { readout.textContent = tell(timeAt(event)); });
    strips.addEventListener("pointerleave", () => { readout.textContent = tell(card.time); });
    strips.addEventListener("keydown", (event) => {
      const step = Math.max(video.step, video.duration / 200);
      const moves = { ArrowLeft: -step, ArrowRight: step, ArrowDown: -step, ArrowUp: step, PageDown: -10 * step, PageUp: 10 * step, Home: -Infinity, End: Infinity };
      if (event.key in moves) card.seek(card.time + moves[event.key]);
      else if (event.key === " " && player) player.paused ? player.play() : player.pause();
      else return;
      event.preventDefault();
    });
    if (player) {
      const follow = () => {
        show(player.currentTime);
        if (!player.paused && player.isConnected) requestAnimationFrame(follow);
      };
      player.addEventListener("play", follow);
      player.addEventListener("seeked", follow);
      player.addEventListener("loadedmetadata", () => { if (card.time) player.currentTime = card.time; });
      player.addEventListener("error", () => player.replaceWith(element("p", {}, `This browser cannot play ${decodeURIComponent(video.url)}: the file is not there, or of a kind it does not know.`)), { once: true });
    }
    show(card.time ?? 0);
  }

  /** Clusters that a video shows: its own, or those of its parts, the first to come first. */
  const clustersOf = (video) => (video.parts.length ? [...new Set(video.parts.map(([c]) => c))] : [video.cluster]);

  /** What is said about a video in one line. */
  function chips(video) {
    const sure = ["clarity", "confidence"].filter((word) => video[word] !== null).map((word) => `${word} ${video[word].toFixed(2)}`);
    const words = [video.split, clock(video.duration), ...sure, video.selected && "selected for training", video.note].filter(Boolean);
    return [...clustersOf(video).map((c) => element("span", {}, swatch(c), ` ${clusterName(c)}`)), ...words.map((text) => element("span", {}, text))];
  }

  function makeCard(index) {
    const video = videos[index];
    const card = by("card").content.firstElementChild.cloneNode(true);
    card.id = `card-${index}`;
    card.querySelector("h3").textContent = video.id;
    card.querySelector(".chips").append(...chips(video));
    const media = card.querySelector(".media");
    if (video.url) media.append(element("video", { controls: "", playsinline: "", preload: "metadata", "aria-label": video.id }));
    else { media.remove(); card.classList.add("plain-card"); }
    const strips = card.querySelector(".strips");
    strips.setAttribute("aria-label", `Time in ${video.id}`);
    strips.setAttribute("aria-valuemax", video.duration);
    strips.setAttribute("aria-valuenow", 0);
    const found = card.querySelector(".found");
    if (video.moments.length) {
      const moments = video.moments, detections = video.found.length + video.more;
      found.querySelector("summary").textContent = `${moments.length} ${moments.length === 1 ? "moment" : "moments"}${detections > moments.length ? `, chosen from ${detections} detections` : ""}`;
      found.addEventListener("toggle", () => {
        found.querySelector("ol").append(...moments.map(([c, start, end, confidence]) => {
          const button = element("button", { type: "button" }, swatch(c), ` ${clusterName(c)} ${clock(start)}–${clock(end)}, confidence ${confidence.toFixed(2)}`);
          button.addEventListener("click", () => card.seek(start));
          return element("li", {}, button);
        }));
      }, { once: true });
    } else found.remove();
    hooks.card?.(card, video);
    return card;
  }

  // ------------------------------------------------------------------ the list

  const filters = { search: by("search"), cluster: by("cluster"), split: by("split"), sort: by("sort") };
  const haystack = (v) => [v.id, v.split, ...clustersOf(v).flatMap((c) => [`cluster ${c}`, names[c]]), ...v.truth.map((s) => s[0])].join(" ").toLowerCase();
  const strength = videos.map((v) => Math.max(-Infinity, ...v.moments.map((moment) => moment[3])));
  const collator = new Intl.Collator(undefined, { numeric: true });
  const byName = videos.map((_, i) => i).sort((a, b) => collator.compare(videos[a].id, videos[b].id));
  const keys = {
    cluster: (i) => videos[i].cluster,
    confidence: (i) => -(videos[i].confidence ?? -Infinity),
    clarity: (i) => -(videos[i].clarity ?? -Infinity),
    score: (i) => -strength[i],
    duration: (i) => -videos[i].duration,
  };
  let shown = [], page = 0;

  const near = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) if (isIntersecting) fillOnce(target);
  }, { rootMargin: "300px" });

  function fillOnce(card) {
    near.unobserve(card);
    if (!card.seek) fill(card, videos[card.id.slice(5)]);
  }

  function render() {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.max(0, Math.min(page, pages - 1));
    near.disconnect();
    const cards = shown.slice(page * PAGE, (page + 1) * PAGE).map(makeCard);
    by("cards").replaceChildren(...cards);
    for (const card of cards) near.observe(card);
    by("count").textContent = shown.length === videos.length ? `${videos.length.toLocaleString("en")} videos` : `${shown.length.toLocaleString("en")} of ${videos.length.toLocaleString("en")} videos`;
    by("page").textContent = `${page + 1} of ${pages}`;
    by("previous").disabled = page === 0;
    by("next").disabled = page === pages - 1;
  }

  function update() {
    const words = filters.search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const cluster = filters.cluster.value, split = filters.split?.value ?? "";
    const found = (text) => words.every((word) => text.includes(word));
    shown = byName.filter((i) => (cluster === "" || clustersOf(videos[i]).includes(+cluster)) && (!split || videos[i].split === split) && (!words.length || found(haystack(videos[i]))));
    const key = keys[filters.sort.value];
    if (key) shown.sort((a, b) => key(a) - key(b) || 0); // two without a value: Infinity - Infinity
    page = 0;
    render();
  }

  function turn(pages) {
    page += pages;
    render();
    by("videos").scrollIntoView();
  }

  by("filters").addEventListener("input", update);
  by("filters").addEventListener("submit", (event) => event.preventDefault());
  by("previous").addEventListener("click", () => turn(-1));
  by("next").addEventListener("click", () => turn(1));

  /** Go to a video, and to a time in it: the address #video-12@3.5. */
  function visit() {
    const found = /^#video-(\d+)(?:@([\d.]+))?$/.exec(location.hash);
    if (!found || !videos[found[1]]) return;
    const index = +found[1];
    if (!shown.includes(index)) {
      by("filters").reset();
      update();
    }
    const wanted = Math.floor(shown.indexOf(index) / PAGE);
    if (wanted !== page) {
      page = wanted;
      render();
    }
    const card = by(`card-${index}`);
    fillOnce(card);
    if (found[2]) card.seek(+found[2]);
    card.scrollIntoView();
    card.focus({ preventScroll: true });
  }

  addEventListener("hashchange", visit);
  document.addEventListener("click", (event) => { // the same address again is no change of the address
    const link = event.target.closest?.('a[href^="#video-"]');
    if (link && link.getAttribute("href") === location.hash) visit();
  });

  // ------------------------------------------------------------------ the map

  function drawMap() {
    const canvas = by("map-canvas"), tip = by("map-tip"), slider = by("iteration");
    const outlines = Array.from({ length: SHAPES }, (_, i) => new Path2D(by(`shape-${i}`).getAttribute("d")));
    const order = map.video.map((_, k) => k);
    let state = map.iterations.at(-1), places = [], only = null, moving = 0;
    const target = (iteration) => iteration.x.map((x, k) => [x / map.grid, iteration.y[k] / map.grid]);

    function place([x, y]) {
      const margin = 18, { clientWidth: w, clientHeight: h } = canvas;
      return [margin + x * (w - 2 * margin), h - margin - y * (h - 2 * margin)];
    }

    function paint() {
      const { clientWidth: w, clientHeight: h } = canvas, ratio = devicePixelRatio || 1;
      if (canvas.width !== Math.round(w * ratio) || canvas.height !== Math.round(h * ratio)) {
        canvas.width = Math.round(w * ratio);
        canvas.height = Math.round(h * ratio);
      }
      const style = getComputedStyle(document.documentElement);
      const colours = Array.from({ length: COLOURS }, (_, i) => style.getPropertyValue(`--c${i}`));
      const pen = canvas.getContext("2d"), size = order.length > 600 ? 3.5 : 5.5;
      pen.setTransform(1, 0, 0, 1, 0, 0);
      pen.clearRect(0, 0, canvas.width, canvas.height);
      pen.lineWidth = 0.28;
      for (const k of order) {
        const c = state.cluster[k], [x, y] = place(places[k]);
        pen.setTransform(size * ratio, 0, 0, size * ratio, x * ratio, y * ratio);
        pen.globalAlpha = only === null || only === c ? 1 : 0.12;
        pen.strokeStyle = pen.fillStyle = colours[c % COLOURS];
        if (state.selected[k]) pen.fill(outlines[c % SHAPES]);
        else pen.stroke(outlines[c % SHAPES]);
      }
    }

    function move(iteration) {
      state = map.iterations[iteration - 1];
      by("iteration-now").textContent = iteration;
      const from = places, to = target(state), start = performance.now(), run = ++moving;
      const frame = (now) => {
        if (run !== moving) return;
        const t = calm.matches || !from.length ? 1 : Math.min(1, (now - start) / 350), ease = t * (2 - t);
        places = to.map(([x, y], k) => (t < 1 ? [from[k][0] + (x - from[k][0]) * ease, from[k][1] + (y - from[k][1]) * ease] : [x, y]));
        paint();
        if (t < 1) requestAnimationFrame(frame);
      };
      frame(start);
    }

    function nearest(event) {
      const box = canvas.getBoundingClientRect();
      let best = -1, least = 14 ** 2;
      for (const k of order) {
        const [x, y] = place(places[k]), d = (x - event.clientX + box.left) ** 2 + (y - event.clientY + box.top) ** 2;
        if (d < least) [best, least] = [k, d];
      }
      return best;
    }

    canvas.addEventListener("pointermove", (event) => {
      const k = nearest(event);
      canvas.style.cursor = k < 0 ? "" : "pointer";
      tip.hidden = k < 0;
      if (k < 0) return;
      const video = videos[map.video[k]], [x, y] = place(places[k]);
      const truth = [...new Set(video.truth.map((segment) => segment[0]))];
      const from = video.parts.length ? [`from ${clock(map.start[k])}`] : [];
      tip.textContent = [video.id, ...from, clusterName(state.cluster[k]), ...(truth.length ? [`annotated ${truth.join(", ")}`] : [])].join(" · ");
      tip.style.left = `${Math.max(0, Math.min(x + 12, canvas.clientWidth - tip.offsetWidth))}px`;
      tip.style.top = `${y > 60 ? y - tip.offsetHeight - 8 : y + 14}px`;
    });
    canvas.addEventListener("pointerleave", () => { tip.hidden = true; });
    canvas.addEventListener("click", (event) => {
      const k = nearest(event), address = `#video-${map.video[k]}${map.start[k] ? `@${map.start[k]}` : ""}`;
      if (k < 0) return;
      if (location.hash === address) visit();
      else location.hash = address;
    });
    slider.addEventListener("input", () => move(+slider.value));
    for (const button of document.querySelectorAll(".legend button")) {
      button.addEventListener("click", () => {
        const c = +button.dataset.cluster;
        only = only === c ? null : c;
        for (const other of document.querySelectorAll(".legend button")) other.setAttribute("aria-pressed", String(+other.dataset.cluster === only));
        paint();
      });
    }
    new ResizeObserver(paint).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
    slider.value = map.iterations.length; // a browser may keep an old position when it loads the page again
    move(map.iterations.length);
  }

  by("filters").reset();
  update();
  if (map) drawMap();
  visit();
  globalThis.feel = { data, hooks, by, element, swatch, clock, clusterName, chips, render };
})();
