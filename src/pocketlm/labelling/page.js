"use strict";
(() => {
  const token = location.hash.slice(1);
  const at = (id) => document.getElementById(id);
  const word = at("word");
  let now = null, busy = false;

  const ask = async (path, body) => {
    if (busy) return;
    busy = true;
    try {
      const answer = await fetch(path, body === undefined
        ? { headers: { "X-Token": token } }
        : { method: "POST", headers: { "X-Token": token, "Content-Type": "application/json" }, body: JSON.stringify(body) });
      const said = await answer.json();
      if (answer.ok) { now = said; show(); } else at("said").textContent = said.error;
    } catch {
      at("said").textContent = "the terminal's program does not answer; start it again: nothing given so far is lost";
    } finally {
      busy = false;
    }
  };
  const act = (what, label) => {
    if (!now || (what !== "undo" && !now.row)) return;
    const body = { do: what, text: now.row ? now.row.text : "" };
    if (label !== undefined) body.label = label;
    word.value = "";
    ask("/act", body);
  };

  const begun = () => {
    const wanted = word.value.trim().toLocaleLowerCase();
    return now.labels.filter((label) => label.toLocaleLowerCase().includes(wanted));
  };
  const guess = () => now.row && now.row.guess ? now.row.guess.label : null;
  const showLabels = () => {
    at("labels").replaceChildren(...begun().map((label) => {
      const button = document.createElement("button"), name = document.createElement("bdi");
      const place = now.labels.indexOf(label);
      button.type = "button";
      name.textContent = label;
      button.append(name);
      if (place < 9) {
        const key = document.createElement("kbd");
        key.textContent = ` ${place + 1}`;
        button.append(key);
      }
      if (label === guess()) button.classList.add("guess");
      button.addEventListener("click", () => act("label", label));
      return button;
    }));
  };
  const show = () => {
    at("text").textContent = now.row ? now.row.text : "Every row has been asked.";
    at("said").textContent = guess() === null ? "" : `Enter takes ${guess()} (${Math.round(100 * now.row.guess.probability)} %)`;
    at("rows").textContent = `${now.trained + now.held_out} rows labelled: ${now.trained} to learn from, ${now.held_out} held out at random to measure`;
    at("outlook").textContent = now.outlook;
    at("curve").innerHTML = now.curve || "";
    at("counts").replaceChildren(...now.labels.map((label) => {
      const line = document.createElement("div"), name = document.createElement("dt"), count = document.createElement("dd");
      name.textContent = label;
      name.dir = "auto";
      count.textContent = now.counts[label];
      line.append(name, count);
      return line;
    }));
    showLabels();
  };

  // As in the terminal: a number, a name or the beginning of one alone; +name is a new label, so that no slip makes one.
  const take = () => {
    const wanted = word.value.trim(), small = wanted.toLocaleLowerCase();
    if (!wanted) { if (guess() !== null) act("label", guess()); return; }
    if (wanted.startsWith("+")) { act("label", wanted.slice(1)); return; }
    const exact = now.labels.find((label) => label.toLocaleLowerCase() === small);
    const starts = now.labels.filter((label) => label.toLocaleLowerCase().startsWith(small));
    const found = exact || now.labels[/^[0-9]+$/.test(wanted) ? wanted - 1 : -1] || (starts.length === 1 ? starts[0] : undefined);
    if (found !== undefined) act("label", found);
    else at("said").textContent = `there is no label ${wanted}; +${wanted} makes it one`;
  };
  at("form").addEventListener("submit", (event) => { event.preventDefault(); take(); });
  word.addEventListener("input", () => { if (now) showLabels(); });
  for (const button of document.querySelectorAll("[data-do]")) button.addEventListener("click", () => act(button.dataset.do));
  document.addEventListener("keydown", (event) => {
    if (!now || event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
    if (event.target === word) {
      if (event.key === "Escape") { word.value = ""; showLabels(); word.blur(); }
      return;
    }
    const keys = { "?": "unsure", s: "skip", u: "undo" };
    if (/^[1-9]$/.test(event.key) && now.labels[event.key - 1] !== undefined) act("label", now.labels[event.key - 1]);
    else if (event.key in keys) act(keys[event.key]);
    else if (event.key === "Enter" && !(event.target instanceof HTMLButtonElement)) take();
    else if (event.key === "/") word.focus();
    else return;
    event.preventDefault();
  });
  ask("/state");
})();
