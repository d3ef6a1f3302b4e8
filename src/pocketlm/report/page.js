"use strict";
(() => {
  const tip = document.getElementById("tip");
  let shown = null;

  // Tooltips: on hover, on keyboard focus, and on a tap (which also moves the focus).
  const hide = () => { tip.hidden = true; if (shown) shown.classList.remove("asked"); shown = null; };
  const show = (point) => {
    if (shown === point) return;
    hide();
    shown = point;
    point.classList.add("asked");
    const [name, ...lines] = JSON.parse(point.dataset.tip);
    const head = document.createElement("b");
    head.textContent = name;
    tip.replaceChildren(head, ...lines.map((line) => {
      const row = document.createElement("span");
      row.textContent = line;
      return row;
    }));
    tip.hidden = false;
    const mark = (point.querySelector(".mark") || point).getBoundingClientRect();
    const own = tip.getBoundingClientRect();
    const width = document.documentElement.clientWidth;
    const left = Math.min(Math.max(8, mark.left + mark.width / 2 - own.width / 2), width - own.width - 8);
    const above = mark.top - own.height - 10;
    tip.style.left = `${left + scrollX}px`;
    tip.style.top = `${(above > 4 ? above : mark.bottom + 10) + scrollY}px`;
  };
  const pointAt = (event) => event.target instanceof Element ? event.target.closest("[data-tip]") : null;
  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const point = pointAt(event);
    if (point) show(point); else if (shown && shown !== document.activeElement) hide();
  });
  // A mark of a plot leads to its row, whose recipe unfolds.
  const follow = (point) => {
    const row = document.getElementById(point.dataset.row);
    if (!row) return;
    for (const other of document.querySelectorAll("tr.asked-for")) other.classList.remove("asked-for");
    row.classList.add("asked-for");
    const recipe = row.querySelector("details");
    if (recipe) recipe.open = true;
    row.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("click", (event) => {
    const point = pointAt(event);
    if (!point) return hide();
    show(point);
    if (point.dataset.row) follow(point);
  });
  document.addEventListener("focusin", (event) => { const point = pointAt(event); if (point) show(point); else hide(); });
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    const point = event.key === "Enter" && pointAt(event);
    if (point && point.dataset.row) follow(point);
  });

  // Tables: a click on a heading sorts by it, another turns the order; rows without a figure stay last.
  const figureOf = (cell) => cell.dataset.sort === undefined ? null : Number(cell.dataset.sort);
  const compare = (one, other, numeric) => numeric
    ? figureOf(one) - figureOf(other)
    : one.textContent.localeCompare(other.textContent, undefined, { numeric: true });
  for (const button of document.querySelectorAll("table.sortable th button")) {
    button.addEventListener("click", () => {
      const heading = button.parentElement, place = heading.cellIndex, numeric = heading.classList.contains("num");
      const was = heading.getAttribute("aria-sort");
      const down = was ? was === "ascending" : numeric;
      for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = heading.closest("table").tBodies[0];
      const absent = (row) => numeric && figureOf(row.cells[place]) === null;
      const rows = [...body.rows].sort((one, other) => absent(one) - absent(other)
        || (absent(one) ? 0 : compare(one.cells[place], other.cells[place], numeric) * (down ? -1 : 1)));
      body.append(...rows);
    });
  }

  // Commands: a button that copies.
  for (const block of document.querySelectorAll(".command pre")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.addEventListener("click", async () => {
      const code = block.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    block.parentElement.querySelector("h3").append(button);
  }

  // The figures behind the page, as a file.
  const save = document.createElement("button");
  save.type = "button";
  save.textContent = "Save all figures as JSON";
  save.addEventListener("click", () => {
    const text = JSON.stringify(JSON.parse(document.getElementById("result").textContent), null, 1);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = "result.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  document.querySelector("main").append(save);
})();
