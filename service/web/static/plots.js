"use strict";
// Draws what the page carries as JSON: the chosen spectrum over its neighbours, and the map of the archive.
(() => {
  const COLOURS = ["#0b5a8f", "#c2480f", "#2b7a3d", "#7a3fa0", "#a07400", "#b0246a", "#00787a", "#6b5b4d", "#3d4fc4", "#5d7d00"];
  const SETTINGS = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
  const TEMPERATURES = [2500, 3000, 3500, 4000, 5000, 6000, 8000, 10000, 15000, 20000, 30000, 50000];
  const STARS = [[0, "#a80000"], [0.25, "#f08c2e"], [0.5, "#ffe9a8"], [0.75, "#9cc3ff"], [1, "#1f4fd8"]]; // cool to hot
  const FONT = { family: "system-ui, sans-serif", size: 13, color: "#16202a" };

  const data = (id) => {
    const element = document.getElementById(id);
    return element ? JSON.parse(element.textContent) : null;
  };

  // Names come from archives and Plotly reads some HTML in text: only plain text may reach it.
  const plain = (text) => text.replace(/[&<>]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;" })[c]);

  const spread = (flux) => {
    const valid = flux.filter((f) => f !== null).sort((a, b) => a - b);
    return valid.length ? valid[Math.floor(0.95 * (valid.length - 1))] - valid[Math.floor(0.05 * (valid.length - 1))] : 0;
  };

  // The chosen spectrum lies on top; steps are as wide as the typical structure, so that lines stay apart.
  const traces = (plot, apart) => {
    const widths = plot.curves.map((curve) => spread(curve.flux)).sort((a, b) => a - b);
    const step = apart ? Math.max(0.15, 0.6 * widths[Math.floor(widths.length / 2)]) : 0;
    return plot.curves.map((curve, i) => ({
      type: "scatter", mode: "lines", connectgaps: false, x: plot.wave,
      y: curve.flux.map((f) => (f === null ? null : f - i * step)),
      customdata: curve.flux, name: plain(curve.label),
      line: { width: i === 0 ? 1.8 : 1.1, color: i === 0 ? "#000" : COLOURS[(i - 1) % COLOURS.length] },
      hovertemplate: `${plain(curve.label)}<br>%{x:.1f} Å, flux %{customdata:.3f}<extra></extra>`,
    }));
  };

  const layout = (plot, apart) => ({
    font: FONT, margin: { l: apart ? 24 : 48, r: 10, t: 10, b: 44 }, hovermode: "closest", paper_bgcolor: "#fff", plot_bgcolor: "#fff",
    xaxis: { title: { text: "Wavelength in vacuum (Å)", standoff: 6 }, zeroline: false, gridcolor: "#e3e8ec", automargin: true },
    yaxis: { title: { text: apart ? "" : "Flux / median" }, showticklabels: !apart, zeroline: false, gridcolor: "#eef1f3" },
    legend: { orientation: "h", yref: "container", y: 0.01, yanchor: "bottom", font: { size: 12 }, traceorder: "normal" }, uirevision: apart ? "apart" : "together",
  });

  const drawSpectra = () => {
    const plot = data("plot-data");
    const place = document.getElementById("plot");
    if (!plot || !place) return;
    const offset = document.getElementById("offset");
    const draw = () => Plotly.react(place, traces(plot, offset.checked), layout(plot, offset.checked), SETTINGS);
    document.querySelector(".controls").hidden = false;
    offset.addEventListener("change", draw);
    draw().then(() => place.setAttribute("data-drawn", String(plot.curves.length)));
    document.querySelectorAll("#neighbour-table tbody tr").forEach((row) => {
      const index = plot.curves.findIndex((curve) => curve.did === row.dataset.did);
      if (index < 0) return;
      const emphasise = (on) => Plotly.restyle(place, { "line.width": on ? 2.6 : 1.1 }, [index]);
      row.addEventListener("mouseenter", () => emphasise(true));
      row.addEventListener("mouseleave", () => emphasise(false));
    });
  };

  const drawMap = () => {
    const map = data("map-data");
    const place = document.getElementById("map");
    if (!map || !place) return;
    const known = map.points.filter((point) => point.colour !== null);
    const unknown = map.points.filter((point) => point.colour === null);
    const cloud = (points, marker, name) => ({
      type: "scatter", mode: "markers", name, x: points.map((p) => p.x), y: points.map((p) => p.y),
      text: points.map((p) => plain(p.label)), customdata: points.map((p) => p.href), marker,
      hovertemplate: "%{text}<extra></extra>", showlegend: false,
    });
    const hues = known.map((p) => Math.log10(p.colour));
    const ticks = TEMPERATURES.filter((t) => Math.log10(t) >= Math.min(...hues) && Math.log10(t) <= Math.max(...hues));
    const bar = { title: { text: map.colour_title, side: "right" }, tickvals: ticks.map(Math.log10), ticktext: ticks.map(String), thickness: 14, outlinewidth: 0 };
    const scale = { size: 6, color: hues, colorscale: STARS, colorbar: bar, line: { width: 0.4, color: "#444" } };
    // A few strange spectra lie far out; the view begins with the bulk, zooming out shows them.
    const axis = (title, name) => {
      const sorted = map.points.map((p) => p[name]).sort((a, b) => a - b);
      const [low, high] = [0.01, 0.99].map((part) => sorted[Math.round(part * (sorted.length - 1))]);
      const room = 0.15 * (high - low || 1);
      return { title: { text: title, standoff: 6 }, range: [low - room, high + room], zeroline: false, automargin: true };
    };
    Plotly.newPlot(place, [cloud(unknown, { size: 4, color: "#bbb" }, "no label"), cloud(known, scale, "labelled")], {
      font: FONT, margin: { l: 56, r: 10, t: 26, b: 52 }, hovermode: "closest", showlegend: false,
      xaxis: axis(map.x_title, "x"), yaxis: axis(map.y_title, "y"),
    }, SETTINGS).then(() => place.setAttribute("data-drawn", String(map.points.length)));
    place.on("plotly_click", (event) => { window.location.href = event.points[0].customdata; });
  };

  const offerCopies = () => {
    if (!navigator.clipboard) return;
    document.querySelectorAll("button[data-copy]").forEach((button) => {
      button.hidden = false;
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      });
    });
  };

  drawSpectra();
  drawMap();
  offerCopies();
})();
