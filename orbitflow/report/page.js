"use strict";
// Draws the charts whose data stand beside them in the page. Colours are CSS variables, so neither
// the theme nor paper asks for drawing again. In the address, #dark or #light chooses the theme,
// #open unfolds everything; #dark,open does both.
(() => {
  const config = JSON.parse(document.getElementById("config").textContent);
  const options = { config, mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false };
  const wishes = location.hash.slice(1).split(",");

  const rowsOf = (columns) => {
    const names = Object.keys(columns);
    const count = names.length ? columns[names[0]].length : 0;
    return Array.from({ length: count }, (_, i) =>
      Object.fromEntries(names.map((name) => [name, columns[name][i]])));
  };

  const cellsOf = (extra, frame) => {
    const cells = [];
    for (const [id, fate, set] of frame.rows) {
      const onHost = new Set(extra.sets[set]);
      const request = `${id} (${extra.prompts[id] ?? "?"})`;
      for (let layer = 0; layer < extra.layers; layer += 1) {
        const place = fate === 2 ? 4 : (fate === 1 ? 2 : 0) + (onHost.has(layer) ? 1 : 0);
        cells.push({ request, layer, place: extra.places[place] });
      }
    }
    return cells;
  };

  const describe = (extra, at) => {
    const frame = extra.frames[at];
    const more = frame.more ? `; ${frame.more} more requests not shown` : "";
    const does = frame.does ? `: ${frame.does}` : "";
    return `${frame.n}, at ${frame.t}, before pass ${frame.pass}${does}${more}`;
  };

  const slide = (container, extra, view) => {
    const input = document.getElementById(`${container.id}-at`);
    const output = input.parentElement.querySelector("output");
    const show = () => {
      const at = Number(input.value);
      output.textContent = describe(extra, at);
      input.setAttribute("aria-valuetext", output.textContent);
      view.data("cells", cellsOf(extra, extra.frames[at])).run();
    };
    input.addEventListener("input", show);
    show();
  };

  const draw = async (container) => {
    if (container.dataset.drawn) return;
    container.dataset.drawn = "no";
    try {
      const source = document.querySelector(`script[data-for="${container.id}"]`);
      const { spec, data, extra } = JSON.parse(source.textContent);
      spec.datasets = {};
      for (const [name, columns] of Object.entries(data)) spec.datasets[name] = rowsOf(columns);
      const { view } = await vegaEmbed(container, spec, options);
      if (extra) slide(container, extra, view);
      container.dataset.drawn = "yes";
    } catch (error) {
      container.textContent = `This chart could not be drawn: ${error.message}`;
      throw error;
    }
  };

  const charts = [...document.querySelectorAll(".chart")];
  const folds = [...document.querySelectorAll("details")];
  const isShown = (chart) => !chart.closest("details:not([open])");
  const drawShown = () => charts.filter(isShown).forEach(draw);

  const button = document.getElementById("theme");
  const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const name = () => { button.textContent = isDark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    name();
  });
  for (const theme of ["dark", "light"]) {
    if (wishes.includes(theme)) document.documentElement.dataset.theme = theme;
  }
  name();

  const foldAll = document.getElementById("fold");
  const someFolded = () => folds.some((fold) => !fold.open);
  const nameFolds = () => { foldAll.textContent = someFolded() ? "Unfold all" : "Fold all"; };
  const toggled = () => { nameFolds(); drawShown(); };
  foldAll.hidden = !folds.length;
  foldAll.addEventListener("click", () => {
    const unfolds = someFolded();
    folds.forEach((fold) => { fold.open = unfolds; });
  });
  if (wishes.includes("open")) folds.forEach((fold) => { fold.open = true; });
  folds.forEach((fold) => fold.addEventListener("toggle", toggled));
  nameFolds();
  addEventListener("beforeprint", () => {
    folds.forEach((fold) => { fold.open = true; });
    charts.forEach(draw);
  });
  drawShown();
})();
