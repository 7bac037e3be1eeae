"use strict";
(() => {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const panels = tabs.map((tab) => document.getElementById(tab.getAttribute("aria-controls")));
  const narrow = window.matchMedia("(max-width: 640px)");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let drawnTheme = new Map();

  // ---------------------------------------------------------------- colours

  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

  const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

  function colour(word, styles) {
    const named = /^(?:var\((--\w+)\)|ramp\(([\d.]+)\))(?:@([\d.]+))?$/.exec(word);
    if (!named) return word;
    let rgb;
    if (named[1]) rgb = channels(styles.getPropertyValue(named[1]).trim());
    else {
      const place = Math.min(Math.max(Number(named[2]), 0), 1) * 4;
      const low = Math.min(Math.floor(place), 3);
      const [a, b] = [low, low + 1].map((stop) => channels(styles.getPropertyValue(`--r${stop}`).trim()));
      rgb = a.map((value, channel) => Math.round(value + (place - low) * (b[channel] - value)));
    }
    return `rgba(${rgb.join(",")},${named[3] ?? 1})`;
  }

  function painted(value, styles) {
    if (typeof value === "string") return colour(value, styles);
    if (Array.isArray(value)) return value.map((one) => painted(one, styles));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, painted(one, styles)]));
    }
    return value;
  }

  // ---------------------------------------------------------------- figures

  function merged(first, second) {
    const whole = { ...first };
    for (const [key, value] of Object.entries(second)) {
      const both = value && whole[key] && typeof value === "object" && typeof whole[key] === "object";
      whole[key] = both && !Array.isArray(value) && !("bdata" in value) ? merged(whole[key], value) : value;
    }
    return whole;
  }

  function layoutOf(figure) {
    const axis = {
      gridcolor: "var(--grid)", zerolinecolor: "var(--line)", linecolor: "var(--line)", tickcolor: "var(--line)",
      automargin: true, fixedrange: narrow.matches, zeroline: false, title: { font: { size: narrow.matches ? 12 : 13 } },
    };
    const common = {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true,
      font: { family: "system-ui, sans-serif", size: narrow.matches ? 11 : 13, color: "var(--ink)" },
      margin: { l: 12, r: 12, t: 28, b: 12 },
      hoverlabel: { bgcolor: "var(--paper)", bordercolor: "var(--line)", font: { color: "var(--ink)" } },
      legend: { orientation: "h", x: 0, xanchor: "left", y: 1, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
      dragmode: narrow.matches ? false : "zoom",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "var(--faint)", activecolor: "var(--accent)" },
    };
    const whole = merged(common, figure.layout);
    for (const name of new Set(["xaxis", "yaxis", ...Object.keys(whole).filter((key) => /^[xy]axis\d*$/.test(key))])) {
      whole[name] = merged(axis, whole[name] ?? {});
    }
    return whole;
  }

  function draw(number) {
    const place = document.getElementById(`plot-${number}`);
    const figure = figures[number];
    const choice = document.getElementById(`choice-${number}`);
    const state = `${isDark()} ${narrow.matches} ${choice ? choice.value : ""}`;
    if (drawnTheme.get(number) === state) return Promise.resolve();
    drawnTheme.set(number, state);
    const styles = getComputedStyle(root);
    const chosen = choice ? figure.choices[Number(choice.value)] : [];
    const traces = figure.traces.map((trace, at) => painted(merged(trace, chosen[at] ?? {}), styles));
    const config = {
      responsive: true, displaylogo: false, modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "resetScale2d"]],
      displayModeBar: narrow.matches ? false : "hover", scrollZoom: Boolean(figure.layout.meta?.zooms), plotlyServerURL: "",
    };
    return Plotly.react(place, traces, painted(layoutOf(figure), styles), config).then(() => {
      place.dataset.drawn = "true";
    });
  }

  // What is in view comes first; the rest follows, one figure at a time, so that the page answers meanwhile.
  async function drawPanel(panel) {
    const places = [...panel.querySelectorAll(".plot")];
    const isNear = new Map(places.map((place) => [place, place.getBoundingClientRect().top < window.innerHeight]));
    const number = (place) => Number(place.id.slice(5));
    await Promise.all(places.filter((place) => isNear.get(place)).map((place) => draw(number(place))));
    drawRest(places.filter((place) => !isNear.get(place)).map(number));
  }

  async function drawRest(numbers) {
    for (const number of numbers) {
      await new Promise((done) => setTimeout(done, 0));
      await draw(number);
    }
  }

  const shown = () => panels[tabs.findIndex((tab) => tab.getAttribute("aria-selected") === "true")];

  // ---------------------------------------------------------------- tabs

  function show(at, focus) {
    tabs.forEach((tab, number) => {
      tab.setAttribute("aria-selected", number === at ? "true" : "false");
      tab.tabIndex = number === at ? 0 : -1;
      panels[number].hidden = number !== at;
    });
    if (focus) tabs[at].focus();
    const bar = tabs[at].parentElement;
    const [left, right] = [tabs[at].offsetLeft - bar.offsetLeft, tabs[at].offsetLeft - bar.offsetLeft + tabs[at].offsetWidth];
    if (left < bar.scrollLeft) bar.scrollLeft = left;
    else if (right > bar.scrollLeft + bar.clientWidth) bar.scrollLeft = right - bar.clientWidth;
    return drawPanel(panels[at]);
  }

  tabs.forEach((tab, at) => {
    tab.addEventListener("click", () => show(at, false));
    tab.addEventListener("keydown", (event) => {
      const last = tabs.length - 1;
      const next = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      show(next, true);
    });
  });

  for (const choice of document.querySelectorAll("select[data-plot]")) {
    choice.addEventListener("change", () => draw(Number(choice.dataset.plot)));
  }

  // ---------------------------------------------------------------- light and dark

  const button = document.getElementById("theme");

  function sayTheme() {
    button.textContent = isDark() ? "light" : "dark";
    button.setAttribute("aria-pressed", isDark() ? "true" : "false");
    button.setAttribute("aria-label", isDark() ? "change to light colours" : "change to dark colours");
  }

  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    sayTheme();
    drawPanel(shown());
  });
  dark.addEventListener("change", () => {
    sayTheme();
    drawPanel(shown());
  });
  narrow.addEventListener("change", () => drawPanel(shown()));

  sayTheme();
  drawPanel(shown()).then(() => {
    root.dataset.readyMilliseconds = Math.round(performance.now());
  });
})();
