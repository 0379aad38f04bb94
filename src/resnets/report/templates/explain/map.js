// The map of pictures: drag, wheel, pinch, keys; pictures in place of dots where there is room for them.
const map = document.getElementById("map-canvas");
if (map) {
  const points = JSON.parse(map.dataset.points);  // x, y, group, flags, name, truth, answer
  const groups = JSON.parse(map.dataset.groups);
  const side = Number(map.dataset.side), columns = Number(map.dataset.columns);
  const pictures = document.getElementById("map-pictures"), says = document.getElementById("map-says");
  const hidden = new Set();
  const pen = map.getContext("2d");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  let centre = [0, 0], zoom = 1, flags = 0, chosen = null, due = false;

  const hue = (group) => groups.length <= 10 ? [255, 45, 145, 25, 310, 195, 90, 280, 0, 120][group] : (group * 137.508) % 360;
  const colour = (group) => `oklch(${dark.matches ? 0.76 : 0.58} ${groups.length <= 10 && group > 7 ? 0.06 : 0.16} ${hue(group)})`;
  const shown = (point) => !hidden.has(point[2]) && (point[3] & flags) === flags;
  const scale = () => zoom * 0.46 * Math.min(map.clientWidth, map.clientHeight);
  const onScreen = ([x, y]) => [
    map.clientWidth / 2 + (x - centre[0]) * scale(), map.clientHeight / 2 - (y - centre[1]) * scale()];
  const ask = () => { if (!due) { due = true; requestAnimationFrame(draw); } };

  function picture(target, number, x, y, size) {
    const tall = Math.floor(number / columns) * side, wide = (number % columns) * side;
    target.imageSmoothingEnabled = side > 16;
    target.drawImage(pictures, wide, tall, side, side, x, y, size, size);
  }

  function draw() {
    due = false;
    const dense = devicePixelRatio || 1, width = map.clientWidth, height = map.clientHeight;
    if (map.width !== Math.round(width * dense)) map.width = Math.round(width * dense);
    if (map.height !== Math.round(height * dense)) map.height = Math.round(height * dense);
    pen.setTransform(dense, 0, 0, dense, 0, 0);
    pen.clearRect(0, 0, width, height);
    const seen = points.map((point, number) => [number, point, ...onScreen(point)])
      .filter(([, point, x, y]) => shown(point) && x > -40 && y > -40 && x < width + 40 && y < height + 40);
    const room = Math.sqrt((width * height) / Math.max(seen.length, 1));  // between neighbours, roughly
    const size = zoom > 1.9 && room > 22 ? Math.min(56, 0.8 * room) : 0;
    for (const [number, point, x, y] of seen) {
      pen.fillStyle = pen.strokeStyle = colour(point[2]);
      if (size) {
        picture(pen, number, x - size / 2, y - size / 2, size);
        pen.lineWidth = 2;
        pen.strokeRect(x - size / 2, y - size / 2, size, size);
      } else {
        pen.globalAlpha = point[3] & 4 ? 1 : 0.6;
        pen.beginPath();
        pen.arc(x, y, point[3] & 4 ? 3.6 : 2.8, 0, 7);
        pen.fill();
        pen.globalAlpha = 1;
      }
      if (point[3] & 3) {  // a wrong answer or a likely wrong label has a ring
        pen.strokeStyle = getComputedStyle(map).color;
        pen.lineWidth = 1.4;
        pen.beginPath();
        if (size) pen.rect(x - size / 2 - 2, y - size / 2 - 2, size + 4, size + 4); else pen.arc(x, y, 5.4, 0, 7);
        pen.stroke();
      }
    }
    if (chosen !== null && shown(points[chosen])) {
      const [x, y] = onScreen(points[chosen]);
      pen.strokeStyle = getComputedStyle(map).color;
      pen.lineWidth = 2.5;
      pen.beginPath();
      pen.arc(x, y, size ? 0.75 * size : 9, 0, 7);
      pen.stroke();
    }
  }

  function tell(number) {
    if (number === chosen) return;
    chosen = number;
    const text = says.querySelector("p"), thumb = says.querySelector("canvas").getContext("2d");
    thumb.clearRect(0, 0, 132, 132);
    text.replaceChildren();
    if (number !== null) {
      picture(thumb, number, 0, 0, 132);
      const [, , , mark, name, truth, answer] = points[number];
      for (const [style, line] of [
        ["says", truth], [mark & 1 ? "says orange" : "quiet", `answer ${answer}`],
        ["says orange", mark & 2 ? "likely label error" : ""], ["quiet", mark & 4 ? "outside the training split" : "training split"], ["name", name]]) {
        if (!line) continue;
        const span = document.createElement("span");
        span.className = style;
        span.textContent = line;
        text.append(span);
      }
    } else text.textContent = "Point at a picture.";
    ask();
  }

  function near(x, y) {
    let best = null, least = 30 * 30;
    points.forEach((point, number) => {
      if (!shown(point)) return;
      const [px, py] = onScreen(point), distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) [best, least] = [number, distance];
    });
    return best;
  }

  function zoomBy(factor, x = map.clientWidth / 2, y = map.clientHeight / 2) {
    const before = scale(), wanted = Math.min(60, Math.max(0.7, zoom * factor));
    const offset = [x - map.clientWidth / 2, map.clientHeight / 2 - y];
    zoom = wanted;
    centre = centre.map((value, axis) => value + offset[axis] * (1 / before - 1 / scale()));
    ask();
  }

  function home() { centre = [0, 0]; zoom = 1; ask(); }

  const held = new Map();
  const spread = () => { const [a, b] = [...held.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]); };
  const position = (event) => [event.offsetX, event.offsetY];
  map.addEventListener("pointerdown", (event) => {
    map.setPointerCapture(event.pointerId);
    held.set(event.pointerId, position(event));
    if (held.size === 1) tell(near(...position(event)));
  });
  map.addEventListener("pointermove", (event) => {
    const now = position(event), before = held.get(event.pointerId);
    if (!before) { if (event.pointerType === "mouse") tell(near(...now)); return; }
    if (held.size === 2) {
      const apart = spread();
      held.set(event.pointerId, now);
      const [a, b] = [...held.values()];
      if (apart) zoomBy(spread() / apart, (a[0] + b[0]) / 2, (a[1] + b[1]) / 2);
      return;
    }
    centre = [centre[0] - (now[0] - before[0]) / scale(), centre[1] + (now[1] - before[1]) / scale()];
    held.set(event.pointerId, now);
    ask();
  });
  for (const end of ["pointerup", "pointercancel"]) map.addEventListener(end, (event) => held.delete(event.pointerId));
  map.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 400), ...position(event));
  }, { passive: false });
  map.addEventListener("keydown", (event) => {
    const step = 40 / scale();
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (moves[event.key]) centre = centre.map((value, axis) => value + moves[event.key][axis]);
    else if (event.key === "+" || event.key === "=") zoomBy(1.3);
    else if (event.key === "-") zoomBy(1 / 1.3);
    else if (event.key === "0") home();
    else return;
    event.preventDefault();
    tell(near(map.clientWidth / 2, map.clientHeight / 2));
    ask();
  });
  for (const button of document.querySelectorAll("[data-zoom]"))
    button.addEventListener("click", () => Number(button.dataset.zoom) ? zoomBy(Number(button.dataset.zoom)) : home());
  for (const box of document.querySelectorAll("[data-flag]"))
    box.addEventListener("change", () => { flags ^= Number(box.dataset.flag); ask(); });

  const legend = document.getElementById("map-groups");
  const paint = () => legend.querySelectorAll("i").forEach((key, group) => { key.style.background = colour(group); });
  groups.forEach((name, group) => {
    const button = document.createElement("button"), key = document.createElement("i");
    button.type = "button";
    button.ariaPressed = "true";
    button.append(key, name);
    button.addEventListener("click", () => {
      if (!hidden.delete(group)) hidden.add(group);
      button.ariaPressed = String(!hidden.has(group));
      ask();
    });
    legend.append(button);
  });
  dark.addEventListener("change", () => { paint(); ask(); });
  new ResizeObserver(ask).observe(map);
  pictures.decode().then(ask, () => {});
  paint();
  ask();
}
