"use strict";
(() => {
  const table = document.getElementById("cases");
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const controls = document.getElementById("controls");
  const { find, state, tumor, warned } = controls.elements;
  const shown = document.getElementById("shown");
  const headings = [...table.querySelectorAll("th[aria-sort]")];
  const words = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const order = { key: "", down: false };

  // Where there is nothing to compare comes last, whichever way the rest is sorted.
  const sort = (key, down) => {
    const heading = headings.find((item) => item.dataset.key === key);
    if (!heading) return;
    const { column, kind } = heading.dataset;
    const value = new Map(rows.map((row) => [row, row.cells[column].dataset.value]));
    const compare = kind === "number" ? (a, b) => a - b : (a, b) => words.compare(a, b);
    rows.sort((one, other) => {
      const a = value.get(one), b = value.get(other);
      if (a === "" || b === "") return (a === "") - (b === "");
      return down ? compare(b, a) : compare(a, b);
    });
    body.append(...rows);
    headings.forEach((item) => item.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    Object.assign(order, { key, down });
  };

  const filter = () => {
    const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    rows.forEach((row) => {
      const text = texts.get(row);
      const keep = (!state.value || row.dataset.state === state.value) && (!tumor.checked || "tumor" in row.dataset) &&
        (!warned.checked || "warned" in row.dataset) && wanted.every((word) => text.includes(word));
      row.hidden = !keep;
      count += keep;
    });
    shown.textContent = count + " of " + rows.length + " scans shown";
  };

  // What is chosen stays in the address, so that it survives the page being loaded again while the batch goes on.
  const remember = () => {
    const chosen = new URLSearchParams();
    if (find.value) chosen.set("find", find.value);
    if (state.value) chosen.set("state", state.value);
    if (tumor.checked) chosen.set("tumor", "1");
    if (warned.checked) chosen.set("warned", "1");
    if (order.key) chosen.set("sort", (order.down ? "-" : "") + order.key);
    history.replaceState(null, "", "#" + chosen);
  };

  const recall = () => {
    const chosen = new URLSearchParams(location.hash.slice(1));
    find.value = chosen.get("find") || "";
    state.value = chosen.get("state") || "";
    if (state.selectedIndex < 0) state.selectedIndex = 0;
    tumor.checked = chosen.has("tumor");
    warned.checked = chosen.has("warned");
    const key = chosen.get("sort") || "";
    if (key) sort(key.replace(/^-/, ""), key.startsWith("-"));
    filter();
  };

  headings.forEach((heading) => heading.querySelector("button").addEventListener("click", () => {
    const { key, kind } = heading.dataset;
    // Of numbers the largest are looked for first.
    sort(key, order.key === key ? !order.down : kind === "number");
    remember();
  }));
  controls.addEventListener("input", () => { filter(); remember(); });
  controls.addEventListener("submit", (event) => event.preventDefault());

  // One picture at a time, and with the arrow keys on to the next of those shown.
  const viewer = document.getElementById("viewer");
  const picture = viewer.querySelector("img");
  const caption = viewer.querySelector("strong");
  let current = null;
  const links = () => rows.filter((row) => !row.hidden).map((row) => row.querySelector(".picture a")).filter(Boolean);
  const show = (link) => {
    const all = links();
    current = link;
    picture.src = link.getAttribute("href");
    picture.alt = link.querySelector("img").alt;
    caption.textContent = link.dataset.name + " (" + (all.indexOf(link) + 1) + " of " + all.length + ")";
  };
  const step = (by) => {
    const all = links();
    show(all[(all.indexOf(current) + by + all.length) % all.length]);
  };
  body.addEventListener("click", (event) => {
    const link = event.target.closest(".picture a");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || !viewer.showModal) return;
    event.preventDefault();
    show(link);
    viewer.showModal();
  });
  viewer.addEventListener("click", (event) => {
    const action = event.target.dataset.action;
    if (action === "next") step(1);
    else if (action === "previous") step(-1);
    else if (action === "close" || event.target === viewer) viewer.close();
  });
  viewer.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  });
  viewer.addEventListener("close", () => current.scrollIntoView({ block: "nearest" }));
  // On paper there is no scrolling that would load the rest.
  window.addEventListener("beforeprint", () => body.querySelectorAll("img").forEach((image) => { image.loading = "eager"; }));

  controls.hidden = false;
  recall();
})();
