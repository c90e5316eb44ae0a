"use strict";
// The page's whole behaviour. Data comes from the JSON block, never from the net. Every text that
// came from outside (plates, fence names) goes into the page by textContent only.
(function () {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const el = (tag, props, ...kids) => {
    const node = Object.assign(document.createElement(tag), props || {});
    node.append(...kids);
    return node;
  };

  // ---- marks: one shape and one colour a kind of breach, the same in list, chips and map ----
  const SHAPES = {
    gate_bypass: ["M0-9 9 7-9 7Z", "#d1334a"],
    possible_bypass: ["M0 9-9-7H9Z", "#e58a98"],
    restricted_entry: ["M0-9.5 9.5 0 0 9.5-9.5 0Z", "#7a3fd0"],
    possible_entry: ["M0-9.5 6 0 0 9.5-6 0Z", "#b79ae6"],
    overspeed: ["M-7.8 0a7.8 7.8 0 1 0 15.6 0a7.8 7.8 0 1 0-15.6 0Z", "#e8830c"],
    overstay: ["M-7-7H7V7H-7Z", "#0b7f8e"],
  };
  const SPARE = ["#3d6bb3", "#8a5a2b", "#b0307f", "#4d7c1f", "#555f6b"];
  const kinds = data.kinds.map((kind, i) => {
    const known = SHAPES[kind.id] || ["M-4.5-8H4.5L9 0 4.5 8H-4.5L-9 0Z", SPARE[i % SPARE.length]];
    return { ...kind, path: known[0], colour: known[1], p2d: new Path2D(known[0]), on: true, count: 0 };
  });
  const svgMark = (kind, hollow) => {
    const ns = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(ns, "svg");
    svg.setAttribute("viewBox", "-11 -11 22 22");
    svg.setAttribute("class", "mark");
    svg.setAttribute("aria-hidden", "true");
    const path = document.createElementNS(ns, "path");
    path.setAttribute("d", kind.path);
    path.setAttribute("fill", hollow ? "none" : kind.colour);
    path.setAttribute("stroke", hollow ? kind.colour : "#fff");
    path.setAttribute("stroke-width", hollow ? "2.5" : "1");
    svg.append(path);
    return svg;
  };

  // ---- projection: spherical Mercator, in metres at the middle of what is shown ----
  const [west, south, east, north] = data.bounds;
  const lat0 = (south + north) / 2, lon0 = (west + east) / 2;
  const RAD = Math.PI / 180, R = 6378137 * Math.cos(lat0 * RAD);
  const merc = (lat) => Math.log(Math.tan(Math.PI / 4 + (lat * RAD) / 2));
  const merc0 = merc(lat0);
  const px = (lon) => (lon - lon0) * RAD * R;
  const py = (lat) => -(merc(lat) - merc0) * R;
  const toLonLat = (x, y) => [lon0 + x / R / RAD, (2 * Math.atan(Math.exp(merc0 - y / R)) - Math.PI / 2) / RAD];

  // Lines come as integers of 1e-5 degree, each the difference to the one before.
  const unpackLine = (flat) => {
    const out = new Float64Array(flat.length);
    let x = 0, y = 0;
    for (let i = 0; i < flat.length; i += 2) {
      x += flat[i]; y += flat[i + 1];
      out[i] = px(x / 1e5); out[i + 1] = py(y / 1e5);
    }
    return out;
  };
  const trace = (path, xy, close) => {
    for (let i = 0; i < xy.length; i += 2) i ? path.lineTo(xy[i], xy[i + 1]) : path.moveTo(xy[i], xy[i + 1]);
    if (close) path.closePath();
  };

  const fences = data.fences.map((f) => {
    const path = new Path2D();
    const box = [Infinity, Infinity, -Infinity, -Infinity];
    for (const ring of f.rings) {
      const xy = unpackLine(ring);
      trace(path, xy, true);
      for (let i = 0; i < xy.length; i += 2) {
        box[0] = Math.min(box[0], xy[i]); box[1] = Math.min(box[1], xy[i + 1]);
        box[2] = Math.max(box[2], xy[i]); box[3] = Math.max(box[3], xy[i + 1]);
      }
    }
    return { ...f, path, box, cx: (box[0] + box[2]) / 2, cy: (box[1] + box[3]) / 2 };
  });
  const fenceById = new Map(fences.map((f) => [f.id, f]));
  const roads = new Path2D();
  for (const line of data.roads) trace(roads, unpackLine(line), false);

  const tracks = data.tracks.map(([vehicle, flat]) => {
    const n = flat.length / 3;
    const x = new Float64Array(n), y = new Float64Array(n), t = new Float64Array(n);
    let a = 0, b = 0, c = data.t0;
    for (let i = 0; i < n; i++) {
      a += flat[3 * i]; b += flat[3 * i + 1]; c += flat[3 * i + 2];
      x[i] = px(a / 1e5); y[i] = py(b / 1e5); t[i] = c;
    }
    return { vehicle, x, y, t, path: null };
  });
  const byVehicle = new Map();
  for (const track of tracks) {
    if (!byVehicle.has(track.vehicle)) byVehicle.set(track.vehicle, []);
    byVehicle.get(track.vehicle).push(track);
  }

  const breaches = data.breaches.map((b, i) => ({ ...b, i, x: px(b.lon), y: py(b.lat), kind: kinds[b.k] }));
  for (const b of breaches) b.kind.count++;

  // ---- time ----
  const t0 = data.t0, t1 = Math.max(data.t1, data.t0 + 1);
  const view = { from: t0, to: t1, now: t0 + (t1 - t0) * 0.42, playing: false };
  const pad = (n) => String(n).padStart(2, "0");
  const local = (t) => new Date((t + data.offset) * 1000);
  const many = t1 - t0 > 86400 * 1.01;
  const clock = (t) => { const d = local(t); return pad(d.getUTCHours()) + ":" + pad(d.getUTCMinutes()); };
  const day = (t) => { const d = local(t); return d.getUTCFullYear() + "-" + pad(d.getUTCMonth() + 1) + "-" + pad(d.getUTCDate()); };
  const clockS = (t) => clock(t) + ":" + pad(local(t).getUTCSeconds());
  const stamp = (t) => (many ? day(t).slice(5) + " " : "") + clock(t);
  const lasts = (s) => {
    s = Math.round(s);
    if (s < 60) return s + " s";
    const h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
    return h ? h + " h " + pad(m) + " min" : m + " min " + pad(s % 60) + " s";
  };

  // ---- canvases and view ----
  const base = $("base"), top = $("top"), bar = $("bar");
  const g = base.getContext("2d"), o = top.getContext("2d"), h = bar.getContext("2d");
  let W = 0, H = 0, ratio = 1, scale = 1, cx = 0, cy = 0, chosen = null, hovered = null;
  const sx = (x) => (x - cx) * scale + W / 2, sy = (y) => (y - cy) * scale + H / 2;
  const wx = (s) => (s - W / 2) / scale + cx, wy = (s) => (s - H / 2) / scale + cy;
  const fitBox = (x0, y0, x1, y1) => {
    const mx = 60, myTop = 40, myBottom = 110;
    scale = Math.min((W - 2 * mx) / Math.max(x1 - x0, 200), (H - myTop - myBottom) / Math.max(y1 - y0, 200));
    cx = (x0 + x1) / 2; cy = (y0 + y1) / 2 + (myBottom - myTop) / 2 / scale;
    minScale = Math.min(minScale, scale / 6);
  };
  let minScale = Infinity;
  const fitAll = () => { fitBox(px(west), py(north), px(east), py(south)); redraw(); };

  let baseDirty = true, topDirty = true, barDirty = true, asked = false;
  const ask = () => { if (!asked) { asked = true; requestAnimationFrame(frame); } };
  const redraw = () => { baseDirty = topDirty = true; ask(); };
  // While the map moves, its last picture is moved and stretched; it is drawn anew when it rests.
  let movedAt = 0, drawn = null, rest = 0;
  const heavy = tracks.reduce((n, track) => n + track.t.length, 0) > 20000;
  const moveView = () => { movedAt = performance.now(); redraw(); };
  const redrawTop = () => { topDirty = true; ask(); };
  const redrawTime = () => { baseDirty = topDirty = barDirty = true; ask(); };

  const layers = [
    { id: "tracks", name: "Tracks 轨迹", on: true },
    { id: "trucks", name: "Vehicles now 车辆", on: true },
    { id: "checkpoint", name: "Checkpoints 登记点", on: true },
    { id: "restricted", name: "Restricted 禁区", on: true },
    { id: "corridor", name: "Corridors 专线", on: true },
    { id: "parking", name: "Parks 停车场", on: true },
    { id: "zone", name: "Zones 区域", on: true },
    { id: "district", name: "District 辖区", on: true },
    { id: "roads", name: "Roads 道路", on: true },
    { id: "labels", name: "Names 名称", on: true },
  ].filter((l) => l.id === "labels" || (l.id === "tracks" || l.id === "trucks" ? tracks.length
    : l.id === "roads" ? data.roads.length : fences.some((f) => f.kind === l.id)));
  const shown = (id) => layers.some((l) => l.id === id && l.on);

  const LOOK = {
    district: { fill: "#fbfaf7", line: "#7d8896", width: 2 },
    corridor: { fill: "rgba(56,128,196,.17)", line: "rgba(43,108,170,.55)", width: 1 },
    restricted: { fill: "hatch", line: "#b3405a", width: 1.6, dash: [6, 4] },
    parking: { fill: "rgba(54,146,92,.2)", line: "#2e8a57", width: 1.4 },
    zone: { fill: "rgba(120,130,142,.12)", line: "#7d8896", width: 1.2 },
    checkpoint: { fill: "rgba(255,255,255,.75)", line: "#1d2733", width: 2 },
  };
  const hatch = (() => {
    const tile = el("canvas", { width: 9, height: 9 });
    const c = tile.getContext("2d");
    c.fillStyle = "rgba(209,51,74,.07)"; c.fillRect(0, 0, 9, 9);
    c.strokeStyle = "rgba(190,50,75,.42)"; c.lineWidth = 1.1;
    c.beginPath(); c.moveTo(-2, 11); c.lineTo(11, -2); c.moveTo(-2, 2); c.lineTo(2, -2); c.moveTo(7, 11); c.lineTo(11, 7); c.stroke();
    return g.createPattern(tile, "repeat");
  })();

  const world = (c) => c.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * (W / 2 - cx * scale), ratio * (H / 2 - cy * scale));
  const screen = (c) => c.setTransform(ratio, 0, 0, ratio, 0, 0);
  const style = (f) => LOOK[f.kind] || LOOK.zone;

  function paintFence(f, fill, line) {
    const look = style(f);
    if (fill) {
      if (look.fill === "hatch") { hatch.setTransform(new DOMMatrix().scale(1 / scale)); g.fillStyle = hatch; } else g.fillStyle = look.fill;
      g.fill(f.path, "evenodd");
    }
    if (line) {
      g.strokeStyle = look.line; g.lineWidth = look.width / scale;
      g.setLineDash((look.dash || []).map((d) => d / scale));
      g.stroke(f.path); g.setLineDash([]);
    }
  }

  function trackPath(track) {
    if (track.path) return track.path;
    const { x, y, t } = track, path = new Path2D();
    let open = false;
    for (let i = 0; i < t.length; i++) {
      if (t[i] < view.from || t[i] > view.to) { open = false; continue; }
      open ? path.lineTo(x[i], y[i]) : path.moveTo(x[i], y[i]);
      open = true;
    }
    return (track.path = path);
  }
  const forgetPaths = () => { for (const track of tracks) track.path = null; };

  function drawBase() {
    screen(g);
    g.fillStyle = "#e9eef1"; g.fillRect(0, 0, W, H);
    world(g);
    g.lineJoin = g.lineCap = "round";
    if (shown("district")) {
      for (const f of fences) if (f.kind === "district") {
        g.save(); g.shadowColor = "rgba(40,60,85,.22)"; g.shadowBlur = 18 * ratio; paintFence(f, true, false); g.restore();
      }
    }
    if (shown("roads")) {
      const wide = Math.max(1.6, Math.min(9, 12 * scale));
      g.strokeStyle = "#d3dae0"; g.lineWidth = (wide + 1.4) / scale; g.stroke(roads);
      g.strokeStyle = "#ffffff"; g.lineWidth = wide / scale; g.stroke(roads);
    }
    for (const f of fences) if (f.kind !== "district" && f.kind !== "checkpoint" && shown(f.kind)) paintFence(f, true, true);
    if (shown("tracks")) {
      const dim = chosen !== null || onlyVehicle !== null;
      const alpha = Math.min(0.75, 14 / Math.max(tracks.length, 1) + 0.025) * (dim ? 0.45 : 1);
      g.strokeStyle = `rgba(58,112,178,${alpha})`; g.lineWidth = Math.max(1.1, Math.min(2.2, 1.1 + scale * 2)) / scale;
      for (const track of tracks) g.stroke(trackPath(track));
    }
    if (shown("district")) for (const f of fences) if (f.kind === "district") paintFence(f, false, true);
    if (shown("checkpoint")) for (const f of fences) if (f.kind === "checkpoint") paintFence(f, true, true);
    screen(g);
    if (shown("checkpoint")) for (const f of fences) if (f.kind === "checkpoint") {
      // Far out a circle of 150 m is a dot: give it a size that can be seen.
      const r = Math.max(6.5, ((f.box[2] - f.box[0]) / 2) * scale);
      g.beginPath(); g.arc(sx(f.cx), sy(f.cy), r, 0, 7);
      g.fillStyle = r > 14 ? "rgba(255,255,255,.35)" : "#fff"; g.fill(); g.lineWidth = 2.4; g.strokeStyle = "#1d2733"; g.stroke();
    }
    if (shown("labels")) drawNames();
    drawScale();
  }

  function drawNames() {
    g.textAlign = "center"; g.textBaseline = "middle"; g.lineJoin = "round";
    const taken = [];
    const order = { checkpoint: 0, restricted: 1, parking: 1, zone: 2, corridor: 3, district: 4 };
    for (const f of [...fences].sort((a, b) => (order[a.kind] ?? 2) - (order[b.kind] ?? 2))) {
      if (!shown(f.kind)) continue;
      const size = Math.max(f.box[2] - f.box[0], f.box[3] - f.box[1]) * scale;
      const gate = f.kind === "checkpoint", big = f.kind === "district";
      if (!gate && !big && size < (f.kind === "corridor" ? 60 : 15)) continue;
      g.font = gate ? "600 12px system-ui, sans-serif" : big ? "650 15px system-ui, sans-serif" : "600 12px system-ui, sans-serif";
      let text = gate && size < 60 ? f.id : f.name || f.id;
      // A name longer than its fence is wide would name its neighbours too.
      if (!big && g.measureText(text).width > Math.max(size * 1.15, 90)) text = f.id;
      const wide = g.measureText(text).width + 8;
      let x = sx(px(f.at[0])), y = sy(py(f.at[1]));
      if (gate) y -= Math.max(6.5, size / 2) + 11;
      if (f.kind === "parking" || f.kind === "restricted") y = size > 140 ? y : sy(f.box[3]) + 12;
      if (f.kind === "corridor") y -= 14;
      const box = [x - wide / 2, y - 8, x + wide / 2, y + 8];
      if (x < 0 || y < 0 || x > W || y > H) continue;
      if (taken.some((b) => b[0] < box[2] && b[2] > box[0] && b[1] < box[3] && b[3] > box[1])) continue;
      taken.push(box);
      g.lineWidth = 4; g.strokeStyle = "rgba(255,255,255,.92)"; g.strokeText(text, x, y);
      g.fillStyle = { restricted: "#9c2741", parking: "#1f6b41", corridor: "#245f99", district: "#5c6a79" }[f.kind] || "#1d2733";
      g.fillText(text, x, y);
    }
  }

  function drawScale() {
    const perPx = 1 / scale;
    let metres = 10 ** Math.floor(Math.log10(perPx * 110));
    for (const m of [5, 2]) if (metres * m <= perPx * 110) { metres *= m; break; }
    const box = $("scale");
    box.firstElementChild.textContent = metres >= 1000 ? metres / 1000 + " km" : metres + " m";
    box.lastElementChild.style.width = Math.round(metres / perPx) + "px";
  }

  // Where a vehicle is at a time: interpolated on its track, null where it does not report.
  function placeAt(list, t) {
    for (const track of list) {
      const times = track.t, n = times.length;
      if (t < times[0] || t > times[n - 1]) continue;
      let a = 0, b = n - 1;
      while (b - a > 1) { const m = (a + b) >> 1; times[m] <= t ? (a = m) : (b = m); }
      const u = b > a ? (t - times[a]) / (times[b] - times[a]) : 0;
      return [track.x[a] + u * (track.x[b] - track.x[a]), track.y[a] + u * (track.y[b] - track.y[a])];
    }
    return null;
  }

  // The way between two times, cut exactly.
  function stretch(list, from, to) {
    const path = new Path2D();
    for (const track of list) {
      const { x, y, t } = track;
      if (t[t.length - 1] < from || t[0] > to) continue;
      const a = placeAt([track], Math.max(from, t[0])), b = placeAt([track], Math.min(to, t[t.length - 1]));
      path.moveTo(a[0], a[1]);
      for (let i = 0; i < t.length; i++) if (t[i] > from && t[i] < to) path.lineTo(x[i], y[i]);
      path.lineTo(b[0], b[1]);
    }
    return path;
  }

  const inSpan = (b) => b.s <= view.to && (b.e ?? t1) >= view.from;
  let query = "", onlyVehicle = null;
  const matches = (b) => !query || data.vehicles[b.v].toLowerCase().includes(query) || b.f.toLowerCase().includes(query)
    || (fenceById.get(b.f)?.name || "").toLowerCase().includes(query);
  const visible = () => breaches.filter((b) => b.kind.on && inSpan(b) && matches(b));

  function drawTop() {
    screen(o); o.clearRect(0, 0, W, H);
    const follow = chosen ? chosen.v : onlyVehicle;
    if (follow !== null && byVehicle.has(follow)) {
      world(o); o.lineJoin = o.lineCap = "round";
      const colour = chosen ? chosen.kind.colour : "#c2187e";
      for (const [paint, width] of [["rgba(255,255,255,.85)", 5], [colour + "a8", 2]]) {
        o.strokeStyle = paint; o.lineWidth = width / scale;
        for (const track of byVehicle.get(follow)) o.stroke(trackPath(track));
      }
      if (chosen) {
        // The breach itself stands out of the day's way: its whole length, or the minutes about it.
        const long = chosen.e === null ? t1 - chosen.s : chosen.e - chosen.s, about = long < 1 ? 240 : 0;
        const part = stretch(byVehicle.get(follow), chosen.s - about, (chosen.e ?? t1) + about);
        for (const [paint, width] of [["#fff", 8], [colour, 4.6]]) { o.strokeStyle = paint; o.lineWidth = width / scale; o.stroke(part); }
      }
      screen(o);
    }
    if (shown("trucks")) {
      for (const [vehicle, list] of byVehicle) {
        const at = placeAt(list, view.now);
        if (!at) continue;
        const x = sx(at[0]), y = sy(at[1]);
        if (x < -9 || y < -9 || x > W + 9 || y > H + 9) continue;
        o.beginPath(); o.arc(x, y, vehicle === follow ? 6 : 3.3, 0, 7);
        o.fillStyle = vehicle === follow ? "#c2187e" : "#24476f"; o.fill();
        o.lineWidth = 1.3; o.strokeStyle = "#fff"; o.stroke();
      }
    }
    const list = visible();
    const mark = (b, size) => {
      o.save(); o.translate(sx(b.x), sy(b.y)); o.scale(size, size); o.lineJoin = "round";
      o.shadowColor = "rgba(20,30,45,.35)"; o.shadowBlur = 5; o.shadowOffsetY = 1;
      o.lineWidth = 3.4; o.strokeStyle = "#fff"; o.stroke(b.kind.p2d); o.shadowColor = "transparent";
      if (b.missed) { o.lineWidth = 2.2; o.strokeStyle = b.kind.colour; o.fillStyle = "#fff"; o.fill(b.kind.p2d); o.stroke(b.kind.p2d); }
      else { o.fillStyle = b.kind.colour; o.fill(b.kind.p2d); }
      o.restore();
    };
    for (const b of list) {
      // While the day plays, a breach flashes as it begins.
      const age = view.now - b.s;
      if (view.playing && age >= 0 && age < 1500) {
        o.beginPath(); o.arc(sx(b.x), sy(b.y), 10 + age / 60, 0, 7); o.strokeStyle = b.kind.colour;
        o.globalAlpha = 1 - age / 1500; o.lineWidth = 3; o.stroke(); o.globalAlpha = 1;
      }
      if (b !== chosen && b !== hovered) mark(b, 0.82);
    }
    for (const b of [hovered, chosen]) if (b && list.includes(b)) {
      o.beginPath(); o.arc(sx(b.x), sy(b.y), 19, 0, 7); o.fillStyle = b.kind.colour + "2e"; o.fill();
      o.lineWidth = 2; o.strokeStyle = b.kind.colour; o.stroke(); mark(b, 1.15);
    }
  }

  // ---- time bar: how many vehicles report, when breaches begin, the chosen span, the clock ----
  const BINS = 144, density = new Float64Array(BINS);
  for (const track of tracks) {
    const a = Math.floor(((track.t[0] - t0) / (t1 - t0)) * BINS), b = Math.floor(((track.t[track.t.length - 1] - t0) / (t1 - t0)) * BINS);
    for (let i = Math.max(0, a); i <= Math.min(BINS - 1, b); i++) density[i]++;
  }
  const most = Math.max(1, ...density);
  function drawBar() {
    const w = bar.clientWidth, ht = bar.clientHeight;
    h.setTransform(ratio, 0, 0, ratio, 0, 0); h.clearRect(0, 0, w, ht);
    const at = (t) => ((t - t0) / (t1 - t0)) * (w - 12) + 6, floor = ht - 13;
    h.fillStyle = "#d5dee7"; h.beginPath(); h.moveTo(6, floor);
    for (let i = 0; i < BINS; i++) h.lineTo(6 + ((i + 0.5) / BINS) * (w - 12), floor - (density[i] / most) * (floor - 9));
    h.lineTo(w - 6, floor); h.closePath(); h.fill();
    h.fillStyle = "#7c8896"; h.font = "10.5px system-ui, sans-serif"; h.textBaseline = "top";
    const steps = [60, 300, 900, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
    const step = steps.find((s) => ((t1 - t0) / s) * (many ? 68 : 46) < w) || 2592000;
    for (let t = Math.ceil((t0 + data.offset) / step) * step - data.offset; t <= t1; t += step) {
      const text = step >= 86400 ? day(t).slice(5) : clock(t);
      h.textAlign = at(t) < 20 ? "left" : at(t) > w - 20 ? "right" : "center";
      h.fillText(text, at(t), floor + 3); h.fillRect(at(t), floor, 1, 3);
    }
    for (const b of breaches) if (b.kind.on && matches(b)) {
      h.fillStyle = b.kind.colour; h.fillRect(at(b.s) - 1, b === chosen ? 0 : 2, b === chosen ? 3 : 2, b === chosen ? 14 : 8);
    }
    h.fillStyle = "rgba(255,255,255,.72)";
    h.fillRect(0, 0, at(view.from), floor); h.fillRect(at(view.to), 0, w - at(view.to), floor);
    h.fillStyle = "#1d2733";
    for (const t of [view.from, view.to]) { h.fillRect(at(t) - 1, 0, 2, floor); h.beginPath(); h.roundRect(at(t) - 4, floor / 2 - 8, 8, 16, 3); h.fill(); }
    h.fillStyle = "#1f6feb"; h.fillRect(at(view.now) - 1, 0, 2, floor); h.beginPath(); h.arc(at(view.now), floor, 4.5, 0, 7); h.fill();
    $("clock").textContent = clock(view.now);
    $("span").textContent = view.from <= t0 && view.to >= t1 ? (many ? day(t0) + " …" : day(t0)) : stamp(view.from) + " – " + stamp(view.to);
    bar.setAttribute("aria-valuenow", String(Math.round(((view.now - t0) / (t1 - t0)) * 100)));
    bar.setAttribute("aria-valuetext", day(view.now) + " " + clock(view.now));
  }

  let lastTick = 0;
  function frame(tick) {
    asked = false;
    if (view.playing) {
      const step = Math.min(100, tick - (lastTick || tick)); lastTick = tick;
      view.now += (step / 1000) * ((t1 - t0) / 75);
      if (view.now >= view.to) view.now = view.from;
      topDirty = barDirty = true;
    }
    if (baseDirty) {
      const wait = 160 - (performance.now() - movedAt);
      clearTimeout(rest);
      if (drawn && heavy && wait > 0) {
        const k = scale / drawn.scale;
        base.style.transform = `translate(${(W / 2) * (1 - k) + (drawn.cx - cx) * scale}px,${(H / 2) * (1 - k) + (drawn.cy - cy) * scale}px) scale(${k})`;
        rest = setTimeout(redraw, wait + 5);
        drawScale();
      } else {
        base.style.transform = "";
        drawBase();
        drawn = { scale, cx, cy };
      }
    }
    if (topDirty) drawTop();
    if (barDirty) drawBar();
    baseDirty = topDirty = barDirty = false;
    if (view.playing) ask();
  }

  function resize() {
    const first = !W, box = top.parentElement.getBoundingClientRect();
    const dense = Math.min(window.devicePixelRatio || 1, 2);
    if (box.width === W && box.height === H && dense === ratio) return;
    W = box.width; H = box.height; ratio = dense;
    for (const c of [base, top]) { c.width = W * ratio; c.height = H * ratio; }
    bar.width = bar.clientWidth * ratio; bar.height = bar.clientHeight * ratio;
    if (first && W > 50) fitAll();
    // At once, not in the next frame: changing its size has just emptied the canvas.
    redrawTime(); frame(0);
  }

  // ---- panel ----
  const chip = (box, item, icon, label, change) => {
    const button = el("button", { type: "button", className: "chip" });
    button.setAttribute("aria-pressed", "true");
    if (icon) button.append(icon);
    button.append(...label);
    button.addEventListener("click", () => {
      item.on = !item.on; button.setAttribute("aria-pressed", String(item.on)); change();
    });
    box.append(button);
  };
  $("title").textContent = data.title;
  $("subtitle").textContent = data.subtitle;
  for (const [name, value] of data.facts) $("facts").append(el("div", {}, el("dt", { textContent: name }), el("dd", { textContent: value })));
  for (const kind of kinds) chip($("kinds"), kind, svgMark(kind), [kind.name + " ", el("b", { textContent: String(kind.count) })], () => { fillList(); redrawTime(); });
  if (!kinds.length) $("kinds").append(el("span", { textContent: "none", className: "when" }));
  const swatch = (id) => {
    const look = LOOK[id] || { tracks: { line: "#4478b6", fill: "#4478b6" }, trucks: { line: "#fff", fill: "#24476f" },
      roads: { line: "#c6ced6", fill: "#fff" } }[id];
    if (!look) return null;
    const node = el("span", { className: "swatch" + (id === "checkpoint" || id === "trucks" ? " round" : "") });
    node.style.borderColor = look.line;
    node.style.background = look.fill === "hatch" ? "repeating-linear-gradient(135deg,#fff 0 2px,#e3a6b3 2px 4px)" : look.fill;
    return node;
  };
  for (const layer of layers) chip($("layers"), layer, swatch(layer.id), [layer.name], redraw);
  if (data.table.length) {
    const box = $("check"), table = $("table"), total = data.table[data.table.length - 1];
    const wrong = +total[3] + +total[4] + +total[5];
    box.hidden = false; box.open = wrong > 0;
    box.querySelector("summary").append(total[1] + " planted, " + total[2] + " found, ",
      el("b", { className: wrong ? "bad" : "", textContent: wrong ? wrong + " wrong" : "all found, none else" }));
    data.table.forEach((row, i) => {
      const tr = el("tr");
      row.forEach((cell, j) => {
        const td = el(i ? "td" : "th", { textContent: cell });
        if (i && j >= 3 && j <= 5) td.className = cell === "0" ? "good" : "bad";
        tr.append(td);
      });
      table.append(tr);
    });
  }

  const rows = new Map();
  function fillList() {
    const list = $("list"), found = visible();
    list.replaceChildren(); rows.clear();
    const people = query ? data.vehicles.map((name, v) => [name, v]).filter(([name, v]) => name.toLowerCase().includes(query) && byVehicle.has(v)).slice(0, 6) : [];
    $("count").textContent = found.length === breaches.length ? found.length + " breaches" : found.length + " of " + breaches.length + " breaches";
    for (const b of found) {
      const what = b.kind.name + " · " + (fenceById.get(b.f)?.name || b.f);
      const button = el("button", { type: "button" }, svgMark(b.kind, b.missed),
        el("span", { className: "who", textContent: data.vehicles[b.v] }), el("span", { className: "when", textContent: stamp(b.s) }),
        el("span", { className: "what", textContent: what, title: what }));
      button.addEventListener("click", () => choose(b, true));
      button.addEventListener("mouseenter", () => { hovered = b; redrawTop(); });
      button.addEventListener("mouseleave", () => { hovered = null; redrawTop(); });
      if (b === chosen) button.setAttribute("aria-current", "true");
      rows.set(b, button);
      list.append(el("li", {}, button));
    }
    for (const [name, v] of people) {
      const button = el("button", { type: "button" }, el("span", { textContent: "🚚" }), el("span", { className: "who", textContent: name }),
        el("span", { className: "when", textContent: "show its way" }));
      button.addEventListener("click", () => showVehicle(v));
      list.append(el("li", {}, button));
    }
  }

  function showVehicle(v) {
    chosen = null; onlyVehicle = v; $("card").hidden = true;
    let box = [Infinity, Infinity, -Infinity, -Infinity];
    for (const { x, y } of byVehicle.get(v)) for (let i = 0; i < x.length; i++)
      box = [Math.min(box[0], x[i]), Math.min(box[1], y[i]), Math.max(box[2], x[i]), Math.max(box[3], y[i])];
    const mine = breaches.filter((b) => b.v === v).map((b) => [stamp(b.s), b.kind.name]);
    fitBox(...box); fillCard(data.vehicles[v], mine.length ? "its breaches" : "no breach", mine, null); redraw();
  }

  function fillCard(name, what, facts, kind) {
    const card = $("card"); card.replaceChildren(); card.hidden = false;
    const close = el("button", { type: "button", className: "close", textContent: "×" });
    close.setAttribute("aria-label", "Close");
    close.addEventListener("click", clear);
    const head = el("h3", {}, ...(kind ? [svgMark(kind)] : []), el("span", { textContent: name }));
    const dl = el("dl");
    for (const [key, value, mood] of facts) dl.append(el("dt", { textContent: key }), el("dd", { textContent: value, className: mood || "" }));
    card.append(close, head, el("p", { textContent: what }), dl);
  }

  function choose(b, zoom) {
    chosen = b; onlyVehicle = null; view.now = Math.min(t1, Math.max(t0, b.s));
    for (const [one, button] of rows) one === b ? button.setAttribute("aria-current", "true") : button.removeAttribute("aria-current");
    rows.get(b)?.scrollIntoView({ block: "nearest" });
    const facts = [["began", day(b.s) + " " + clockS(b.s)]];
    if (b.missed) facts.push(["status", "planted, but not found", "bad"]);
    else if (b.e === null) facts.push(["ended", "still going on"]);
    else if (b.e > b.s) facts.push(["ended", day(b.e) + " " + clockS(b.e)], ["lasted", lasts(b.e - b.s)]);
    facts.push(["place", b.lat.toFixed(5) + ", " + b.lon.toFixed(5)], ...b.d);
    if (b.note) facts.push(["planted", b.note]);
    if (b.planted === true) facts.push(["check", "planted and found", "good"]);
    if (b.planted === false) facts.push(["check", "nobody planted this", "bad"]);
    fillCard(data.vehicles[b.v], b.kind.name + " · " + (fenceById.get(b.f)?.name || b.f), facts, b.kind);
    if (zoom) { scale = Math.max(scale, 0.11); cx = b.x; cy = b.y; }
    redrawTime();
  }
  function clear() { chosen = onlyVehicle = null; $("card").hidden = true; for (const button of rows.values()) button.removeAttribute("aria-current"); redrawTime(); }

  // ---- pointer and keys ----
  function under(x, y) {
    let best = null, near = 14;
    for (const b of visible()) { const d = Math.hypot(sx(b.x) - x, sy(b.y) - y); if (d < near) { near = d; best = { breach: b }; } }
    if (best) return best;
    near = 9;
    if (shown("trucks")) for (const [vehicle, list] of byVehicle) {
      const at = placeAt(list, view.now);
      if (!at) continue;
      const d = Math.hypot(sx(at[0]) - x, sy(at[1]) - y);
      if (d < near) { near = d; best = { vehicle }; }
    }
    if (best) return best;
    for (let i = fences.length - 1; i >= 0; i--) {
      const f = fences[i];
      if (!shown(f.kind)) continue;
      const dot = f.kind === "checkpoint" && Math.hypot(sx(f.cx) - x, sy(f.cy) - y) < 9;
      if (dot || (g.setTransform(1, 0, 0, 1, 0, 0), g.isPointInPath(f.path, wx(x), wy(y), "evenodd"))) return { fence: f };
    }
    return null;
  }
  function tip(hit, x, y) {
    const box = $("tip");
    if (!hit) { box.hidden = true; return; }
    const lines = [];
    if (hit.breach) { const b = hit.breach; lines.push(data.vehicles[b.v], b.kind.name, fenceById.get(b.f)?.name || b.f, day(b.s) + " " + clock(b.s)); }
    else if (hit.vehicle !== undefined) lines.push(data.vehicles[hit.vehicle], "here at " + clock(view.now), "click to see its way");
    else lines.push(hit.fence.name || hit.fence.id, ...hit.fence.facts);
    box.replaceChildren(...lines.map((line, i) => el(i ? "span" : "b", { textContent: line })));
    box.hidden = false;
    const wide = box.offsetWidth, tall = box.offsetHeight;
    box.style.left = Math.max(6, Math.min(x + 14, W - wide - 8)) + "px";
    box.style.top = (y + tall + 24 > H ? y - tall - 12 : y + 16) + "px";
  }
  const pointers = new Map();
  let moved = 0, pinch = 0;
  const zoomAt = (x, y, factor) => {
    const ax = wx(x), ay = wy(y);
    scale = Math.max(minScale, Math.min(4, scale * factor));
    cx = ax - (x - W / 2) / scale; cy = ay - (y - H / 2) / scale;
    moveView();
  };
  const place = (event) => { const r = top.getBoundingClientRect(); return [event.clientX - r.left, event.clientY - r.top]; };
  top.addEventListener("pointerdown", (event) => { top.setPointerCapture(event.pointerId); pointers.set(event.pointerId, place(event)); moved = 0; pinch = 0; });
  top.addEventListener("pointermove", (event) => {
    const [x, y] = place(event), before = pointers.get(event.pointerId);
    if (!before) {
      const hit = under(x, y);
      const was = hovered; hovered = hit && hit.breach ? hit.breach : null;
      top.classList.toggle("point", Boolean(hit && (hit.breach || hit.vehicle !== undefined)));
      tip(hit, x, y);
      if (was !== hovered) redrawTop();
      return;
    }
    pointers.set(event.pointerId, [x, y]);
    if (pointers.size === 2) {
      const [a, b] = [...pointers.values()], apart = Math.hypot(a[0] - b[0], a[1] - b[1]);
      if (pinch) zoomAt((a[0] + b[0]) / 2, (a[1] + b[1]) / 2, apart / pinch);
      pinch = apart; moved = 99;
      return;
    }
    moved += Math.hypot(x - before[0], y - before[1]);
    if (moved > 4) { top.classList.add("drag"); tip(null); cx -= (x - before[0]) / scale; cy -= (y - before[1]) / scale; moveView(); }
  });
  const up = (event) => {
    if (pointers.delete(event.pointerId) && moved <= 4 && event.type === "pointerup") {
      const hit = under(...place(event));
      if (hit && hit.breach) choose(hit.breach, false);
      else if (hit && hit.vehicle !== undefined) showVehicle(hit.vehicle);
      else clear();
    }
    top.classList.remove("drag");
  };
  top.addEventListener("pointerup", up);
  top.addEventListener("pointercancel", up);
  top.addEventListener("pointerleave", () => { tip(null); if (hovered) { hovered = null; redrawTop(); } });
  top.addEventListener("wheel", (event) => { event.preventDefault(); zoomAt(...place(event), Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016))); }, { passive: false });
  top.addEventListener("dblclick", (event) => zoomAt(...place(event), 2));
  top.addEventListener("keydown", (event) => {
    const step = 60 / scale;
    const move = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
    if (move) { cx += move[0]; cy += move[1]; moveView(); event.preventDefault(); }
    else if (event.key === "+" || event.key === "=") zoomAt(W / 2, H / 2, 1.4);
    else if (event.key === "-") zoomAt(W / 2, H / 2, 1 / 1.4);
  });
  window.addEventListener("keydown", (event) => { if (event.key === "Escape") clear(); });
  $("in").addEventListener("click", () => zoomAt(W / 2, H / 2, 1.6));
  $("out").addEventListener("click", () => zoomAt(W / 2, H / 2, 1 / 1.6));
  $("fit").addEventListener("click", fitAll);
  $("hide").addEventListener("click", () => { document.body.classList.toggle("wide"); });
  $("search").addEventListener("input", (event) => { query = event.target.value.trim().toLowerCase(); fillList(); redrawTime(); });
  $("play").addEventListener("click", () => {
    view.playing = !view.playing; lastTick = 0;
    $("play").textContent = view.playing ? "❚❚" : "▶"; $("play").setAttribute("aria-label", view.playing ? "Pause" : "Play");
    ask();
  });

  let grip = null;
  const barTime = (event) => { const r = bar.getBoundingClientRect(); return t0 + Math.max(0, Math.min(1, (event.clientX - r.left - 6) / (r.width - 12))) * (t1 - t0); };
  bar.addEventListener("pointerdown", (event) => {
    bar.setPointerCapture(event.pointerId);
    const t = barTime(event), slack = ((t1 - t0) / bar.clientWidth) * 9;
    grip = Math.abs(t - view.from) < slack ? "from" : Math.abs(t - view.to) < slack ? "to" : "now";
    slide(event);
  });
  function slide(event) {
    if (!grip) return;
    const t = barTime(event), least = (t1 - t0) / 200;
    if (grip === "from") view.from = Math.max(t0, Math.min(t, view.to - least));
    else if (grip === "to") view.to = Math.min(t1, Math.max(t, view.from + least));
    else { view.now = t; topDirty = barDirty = true; ask(); return; }
    view.now = Math.max(view.from, Math.min(view.to, view.now));
    forgetPaths(); fillList(); redrawTime();
  }
  bar.addEventListener("pointermove", slide);
  bar.addEventListener("pointerup", () => { grip = null; });
  bar.addEventListener("pointercancel", () => { grip = null; });
  bar.addEventListener("dblclick", () => { view.from = t0; view.to = t1; forgetPaths(); fillList(); redrawTime(); });
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageDown: -12, PageUp: 12 }[event.key];
    if (step) { view.now = Math.max(view.from, Math.min(view.to, view.now + step * Math.max(60, (t1 - t0) / 288))); topDirty = barDirty = true; ask(); event.preventDefault(); }
  });
  if (!tracks.length && !breaches.length) $("time").hidden = true;

  new ResizeObserver(resize).observe(top.parentElement);
  resize();
  fillList();
  // #breach-7 opens the page on that breach: for links and for tests.
  const wanted = /^#breach-(\d+)$/.exec(location.hash);
  if (wanted && breaches[+wanted[1]]) choose(breaches[+wanted[1]], true);
  document.documentElement.dataset.ready = "yes";
})();
