(() => {
  // Correct what was found. The state is kept in the browser, and saved as corrections.yaml for the next run.
  const { data, hooks, by, element, swatch, clock, clusterName, chips, render } = globalThis.feel;
  if (!data.edit) return;
  const { of, corrections } = data.edit, { names, videos } = data;
  const KEY = `feel corrections ${of.variant} ${of.seed} ${of.iteration} ${of.centres} ${data.edit.page}`;
  const given = { names: [...names], clusters: videos.map((video) => video.cluster) };
  const copy = (value) => JSON.parse(JSON.stringify(value));
  const suggested = document.querySelectorAll("[data-merge]"), pairOf = (button) => button.dataset.merge.split(",").map(Number);
  const listed = [...document.querySelectorAll(".cluster[data-cluster]")].map((article) => +article.dataset.cluster);

  // ------------------------------------------------------------------ state

  let state = copy(corrections);
  const base = JSON.stringify(corrections); // what the run has applied; if the file was changed, it wins
  try {
    const kept = JSON.parse(localStorage.getItem(KEY));
    if (kept?.base === base) state = kept.state;
  } catch { /* a browser may refuse to keep anything */ }

  /** The number under which a cluster is shown: the first of its group. */
  const shown = (c) => state.merges.find((group) => group.includes(c))?.[0] ?? c;
  const segmentOf = (mark) => mark.borders ?? [mark.t_start, mark.t_end];
  const near = (a, b) => Math.abs(a - b) < 0.006; // the page has hundredths of a second

  /** What was said about a moment of the page, or nothing. */
  function markOf(video, [cluster, start, end]) {
    return state.moments.find((mark) => mark.video_id === video.id && shown(mark.cluster) === shown(cluster)
      && ((near(mark.t_start, start) && near(mark.t_end, end)) || (near(segmentOf(mark)[0], start) && near(segmentOf(mark)[1], end))));
  }

  /** Say something about a moment; a mark that says nothing any more is dropped. */
  function judge(video, moment, change) {
    let mark = markOf(video, moment);
    if (!mark) {
      const [cluster, t_start, t_end] = moment;
      state.moments.push((mark = { video_id: video.id, cluster, t_start, t_end }));
    }
    Object.assign(mark, change);
    if (mark.mark === "wrong") delete mark.borders;
    else state.ignored = state.ignored.filter((id) => id !== video.id); // a moment that counts is in a video that does
    for (const key of ["mark", "borders"]) if (!mark[key]) delete mark[key];
    if (!mark.mark && !mark.borders) state.moments = state.moments.filter((other) => other !== mark);
    changed();
  }

  /** Take a cluster out of the group that it was merged into, if there is one. */
  function separate(cluster) {
    state.merges = state.merges.map((group) => group.filter((other, i) => !i || other !== cluster)).filter((group) => group.length > 1);
  }

  /** Merge a cluster, and those that are merged into it, into another one. */
  function merge(cluster, into) {
    separate(cluster);
    const own = state.merges.find((group) => group[0] === cluster) ?? [cluster];
    state.merges = state.merges.filter((group) => group !== own);
    const first = shown(into), parts = own.filter((part) => part !== first), group = state.merges.find((other) => other[0] === first);
    if (group) group.push(...parts);
    else state.merges.push([first, ...parts]);
    for (const part of parts) delete state.names[part];
    changed();
  }

  /** Keep the state, and show it wherever it is to be seen. */
  function changed() {
    try {
      localStorage.setItem(KEY, JSON.stringify({ base, state }));
    } catch { /* as above */ }
    names.forEach((_, c) => { names[c] = state.names[shown(c)] ?? given.names[shown(c)]; });
    videos.forEach((video, i) => { video.cluster = shown(state.moves[video.id] ?? given.clusters[i]); });
    for (const c of listed) {
      const article = document.querySelector(`.cluster[data-cluster="${c}"]`), name = article.querySelector(".name-now");
      article.classList.toggle("merged", shown(c) !== c);
      name.textContent = shown(c) !== c ? `Cluster ${c}, merged into ${clusterName(shown(c))}` : names[c] || `Cluster ${c}`;
      article.querySelector(".edit-merge").value = shown(c) === c ? "" : shown(c);
      const field = article.querySelector(".edit-name");
      if (field !== document.activeElement) field.value = names[c] ?? "";
    }
    for (const button of suggested) {
      const [into, cluster] = pairOf(button).map(shown);
      button.disabled = into === cluster;
    }
    for (const legend of document.querySelectorAll(".legend button")) {
      const c = +legend.dataset.cluster;
      legend.replaceChildren(swatch(c), ` ${clusterName(c)}`);
    }
    for (const option of document.querySelectorAll("option[data-cluster]")) option.textContent = `${option.dataset.cluster} · ${clusterName(+option.dataset.cluster)}`;
    for (const card of document.querySelectorAll("#cards .card")) card.refresh?.();
    tell();
  }

  // ------------------------------------------------------------------ the list of corrections

  /** The corrections as the file has them. What was said about an ignored video is kept, should the video count again. */
  function settled() {
    const counts = (id) => !state.ignored.includes(id);
    const moves = Object.fromEntries(Object.entries(state.moves).filter(([id]) => counts(id)));
    return { ...state, moves, moments: state.moments.filter((mark) => mark.mark === "wrong" || counts(mark.video_id)) };
  }

  /** Each correction in words, and how to take it back. */
  function list({ names, merges, moves, ignored, moments }) {
    const seconds = (mark) => segmentOf(mark).map(clock).join("–");
    return [
      ...Object.entries(names).map(([c, name]) => [`Cluster ${c} is called ${name}`, () => { delete state.names[c]; }]),
      ...merges.map((group) => [`Clusters ${group.join(", ")} are one`, () => { state.merges = state.merges.filter((other) => other !== group); }]),
      ...Object.entries(moves).map(([id, c]) => [`${id} belongs to ${clusterName(c)}`, () => { delete state.moves[id]; }]),
      ...ignored.map((id) => [`${id} is ignored`, () => { state.ignored = state.ignored.filter((other) => other !== id); }]),
      ...moments.map((mark) => [
        `${mark.video_id}, ${clusterName(mark.cluster)} ${seconds(mark)}: ${mark.mark ?? "new borders"}`,
        () => { state.moments = state.moments.filter((other) => other !== mark); },
      ]),
    ];
  }

  /** What the run has applied and the state has no longer. The page cannot show it undone: only a run knows how it was. */
  function takenBack(items) {
    const kept = new Set(items.map(([text]) => text));
    const merges = corrections.merges.filter((group) => new Set(group.map(shown)).size > 1); // else it may have grown
    return list({ ...corrections, merges }).map(([text]) => text).filter((text) => !kept.has(text));
  }

  function tell() {
    const items = list(settled()), count = items.length, gone = takenBack(items);
    by("edit-count").textContent = `${count} correction${count === 1 ? "" : "s"}${gone.length ? `, ${gone.length} taken back` : ""}`;
    by("edit-discard").disabled = JSON.stringify(state) === base;
    const notes = gone.map((text) => element("li", { class: "taken-back" }, `Taken back, but shown until the next run: ${text}`));
    by("edit-list").replaceChildren(...items.map(([text, undo]) => {
      const button = element("button", { type: "button", "aria-label": `Undo: ${text}` }, "Undo");
      button.addEventListener("click", () => {
        undo();
        changed();
        by("edit-summary").focus();
      });
      return element("li", {}, element("span", {}, text), button);
    }), ...notes);
  }

  /** YAML in which every text is quoted as JSON does it, so that it needs no library. */
  function yaml() {
    const text = (value) => JSON.stringify(value).replace(/[\u007f-\u009f\u2028\u2029\ufeff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
    const { names, merges, moves, ignored, moments } = settled();
    const lines = ["# Corrections of a page of feel-steps. Use: snakemake … --config corrections=FILE", "of:"];
    for (const key of ["variant", "seed", "iteration", "centres"]) lines.push(`  ${key}: ${text(of[key])}`);
    const section = (name, rows) => { if (rows.length) lines.push(`${name}:`, ...rows); };
    section("names", Object.entries(names).map(([c, name]) => `  ${c}: ${text(name)}`));
    section("merges", merges.map((group) => `  - ${text(group)}`));
    section("moves", Object.entries(moves).map(([id, c]) => `  ${text(id)}: ${c}`));
    section("ignored", ignored.map((id) => `  - ${text(id)}`));
    section("moments", moments.map((mark) => `  - ${text(mark).replace(/("[^"\\]*(?:\\.[^"\\]*)*"):(?=["\d[-])/g, "$1: ")}`));
    return `${lines.join("\n")}\n`;
  }

  async function save() {
    const content = yaml();
    try {
      if (globalThis.showSaveFilePicker) {
        const types = [{ description: "YAML", accept: { "text/yaml": [".yaml"] } }];
        const stream = await (await showSaveFilePicker({ suggestedName: "corrections.yaml", types })).createWritable();
        await stream.write(content);
        await stream.close();
      } else throw new TypeError("no picker");
    } catch (error) {
      if (error.name === "AbortError") return; // the person closed the dialogue
      const link = element("a", { download: "corrections.yaml", href: URL.createObjectURL(new Blob([content], { type: "text/yaml" })) });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    }
    by("edit-status").textContent = "Saved. Run snakemake again with --config corrections= and the path of the file.";
  }

  // ------------------------------------------------------------------ clusters

  const optionsOf = (own) => listed.filter((c) => c !== own).map((c) => element("option", { value: c, "data-cluster": c }, `${c} · ${clusterName(c)}`));

  for (const c of listed) {
    const article = document.querySelector(`.cluster[data-cluster="${c}"]`);
    const name = element("input", { class: "edit-name", type: "text", autocomplete: "off", maxlength: 80 });
    const same = element("select", { class: "edit-merge" }, element("option", { value: "" }, "none"), ...optionsOf(c));
    name.addEventListener("input", () => {
      const text = name.value.trim().replace(/\s+/g, " "), own = shown(c);
      if (text && (text !== given.names[own] || own in corrections.names)) state.names[own] = text;
      else delete state.names[own];
      changed();
    });
    same.addEventListener("change", () => {
      if (same.value !== "") merge(c, +same.value);
      else {
        separate(c);
        changed();
      }
    });
    article.querySelector("h3").after(element("p", { class: "edit-only edit-row" }, element("label", {}, "Name ", name), element("label", {}, "Merge with ", same)));
  }

  for (const button of suggested) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const [into, cluster] = pairOf(button);
      edit(true);
      merge(cluster, into);
    });
  }

  // ------------------------------------------------------------------ videos

  hooks.card = (card, video) => {
    const move = element("select", {}, ...listed.map((c) => element("option", { value: c, "data-cluster": c }, `${c} · ${clusterName(c)}`)));
    const ignore = element("input", { type: "checkbox" });
    const row = element("p", { class: "edit-row" }, element("label", {}, "Cluster ", move), element("label", {}, ignore, " Ignore this video"));
    const moments = element("ol", { class: "edit-moments" }), track = element("div", { class: "track", "aria-hidden": "true" });
    const sliders = element("div", { class: "borders" });
    const box = element("div", { class: "edit-only edit-card" }, row);
    let selected = 0;
    if (video.moments.length) box.append(element("div", { class: "tracks" }, track, sliders), moments);
    card.querySelector(".plot").append(box);

    move.addEventListener("change", () => {
      const own = given.clusters[videos.indexOf(video)];
      if (+move.value === shown(own) && !(video.id in corrections.moves)) delete state.moves[video.id];
      else state.moves[video.id] = +move.value;
      state.ignored = state.ignored.filter((id) => id !== video.id);
      changed();
    });
    ignore.addEventListener("change", () => {
      state.ignored = state.ignored.filter((id) => id !== video.id);
      if (ignore.checked) state.ignored.push(video.id);
      changed();
    });

    const place = (node, start, end) => {
      node.style.left = `${(100 * start) / video.duration}%`;
      if (end !== undefined) node.style.width = `${(100 * (end - start)) / video.duration}%`;
    };
    const borders = (moment) => { const mark = markOf(video, moment); return mark ? segmentOf(mark) : moment.slice(1, 3); };

    const blocks = video.moments.map((moment, i) => {
      const block = element("span", {});
      block.addEventListener("click", () => { selected = i; card.refresh(); });
      return block;
    });
    track.append(...blocks);

    /** A border of the selected moment: drag it, or press arrow keys. It stops at the next moment of the cluster. */
    const handles = [0, 1].map((side) => {
      const handle = element("span", { role: "slider", tabindex: 0, "aria-valuemin": 0, "aria-valuemax": video.duration });
      const set = (time) => {
        const moment = video.moments[selected], now = borders(moment).map((t) => Math.round(t * 100) / 100);
        const others = video.moments.filter((other) => other !== moment && shown(other[0]) === shown(moment[0]) && markOf(video, other)?.mark !== "wrong").map(borders);
        const low = side ? now[0] + 0.1 : Math.max(0, ...others.map(([, end]) => end).filter((end) => end <= now[0]));
        const high = side ? Math.min(video.duration, ...others.map(([start]) => start).filter((start) => start >= now[1])) : now[1] - 0.1;
        now[side] = Math.round(Math.max(low, Math.min(high, time)) * 100) / 100;
        const mark = markOf(video, moment), original = mark ? [mark.t_start, mark.t_end] : moment.slice(1, 3);
        const same = near(now[0], original[0]) && near(now[1], original[1]);
        judge(video, moment, { borders: same ? null : now, mark: mark?.mark === "wrong" ? null : mark?.mark });
      };
      const timeAt = (event) => {
        const area = track.getBoundingClientRect();
        return ((event.clientX - area.left) / area.width) * video.duration;
      };
      handle.addEventListener("pointerdown", (event) => { handle.setPointerCapture(event.pointerId); event.preventDefault(); handle.focus(); });
      handle.addEventListener("pointermove", (event) => { if (handle.hasPointerCapture(event.pointerId)) set(timeAt(event)); });
      handle.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -0.1, ArrowDown: -0.1, ArrowRight: 0.1, ArrowUp: 0.1, PageDown: -1, PageUp: 1 }[event.key];
        if (!step) return;
        set(borders(video.moments[selected])[side] + step);
        event.preventDefault();
      });
      return handle;
    });
    if (video.moments.length) sliders.append(...handles);

    const rows = video.moments.map((moment, i) => {
      const text = element("button", { type: "button" }), verdicts = ["right", "wrong"].map((word) => {
        const button = element("button", { type: "button" }, word === "right" ? "Right" : "Wrong");
        button.addEventListener("click", () => {
          selected = i;
          judge(video, moment, { mark: markOf(video, moment)?.mark === word ? null : word });
        });
        return button;
      });
      text.addEventListener("click", () => {
        selected = i;
        card.seek?.(borders(moment)[0]);
        card.refresh();
      });
      const item = element("li", {}, text, ...verdicts);
      moments.append(item);
      return { moment, item, text, verdicts };
    });

    card.refresh = () => {
      move.value = video.cluster;
      ignore.checked = state.ignored.includes(video.id);
      card.classList.toggle("ignored", ignore.checked);
      card.querySelector(".chips").replaceChildren(...chips(video));
      if (!rows.length) return;
      rows.forEach(({ moment, item, text, verdicts }, i) => {
        const [start, end] = borders(moment), c = shown(moment[0]), mark = markOf(video, moment)?.mark;
        const what = `${clusterName(c)} ${clock(start)}–${clock(end)}`;
        text.replaceChildren(swatch(c), ` ${what}`);
        text.setAttribute("aria-pressed", String(i === selected));
        item.classList.toggle("wrong", mark === "wrong");
        verdicts.forEach((button, k) => {
          const word = k ? "wrong" : "right";
          button.setAttribute("aria-pressed", String(mark === word));
          button.setAttribute("aria-label", `${what} is ${word}`);
        });
        blocks[i].className = `c${c % 7}${mark === "wrong" ? " wrong" : ""}${i === selected ? " selected" : ""}`;
        place(blocks[i], start, end);
      });
      const times = borders(video.moments[selected]);
      handles.forEach((handle, side) => {
        handle.className = side ? "end" : "start";
        place(handle, times[side]);
        handle.setAttribute("aria-label", `${side ? "End" : "Start"} of ${clusterName(shown(video.moments[selected][0]))} in ${video.id}`);
        handle.setAttribute("aria-valuenow", times[side].toFixed(2));
        handle.setAttribute("aria-valuetext", clock(times[side]));
      });
    };
    card.refresh();
  };

  // ------------------------------------------------------------------ on and off

  function edit(on) {
    document.body.classList.toggle("editing", on);
    by("edit-toggle").setAttribute("aria-pressed", String(on));
    by("edit-bar").hidden = !on;
  }

  by("edit-toggle").hidden = false;
  by("edit-toggle").addEventListener("click", () => edit(!document.body.classList.contains("editing")));
  by("edit-save").addEventListener("click", save);
  by("edit-discard").addEventListener("click", () => {
    state = copy(corrections);
    by("edit-status").textContent = "The changes are discarded; the saved file is as it was.";
    changed();
  });
  changed();
  render();
  if (location.hash === "#edit") {
    edit(true);
    by("clusters").scrollIntoView();
  }
})();
