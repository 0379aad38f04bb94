// Pictures are sent to this server one at a time; answers and the history live in this tab and end with it.

const $ = (id) => document.getElementById(id);
const KEPT = 24;  // pictures of the history
const LABELLED = 12;  // boxes whose labels are shown at a time; of more, the one that is pointed at
const TINY = 128;  // pixels; up to this side a picture is shown enlarged, pixel by pixel

let models = [];
let entries = [];  // of the history, the latest first
let current = null;
let waiting = Promise.resolve();  // pictures are asked about one after the other

const percent = (share) => {
  const text = (100 * share).toFixed(1);
  if (share < 1 && text === "100.0") return "> 99.9 %";
  return share > 0 && text === "0.0" ? "< 0.1 %" : `${text} %`;
};
const number = (value) => Number(value.toPrecision(4)).toString();
const signed = (value) => `${value < 0 ? "\u2212" : "+"}${Number(Math.abs(value).toPrecision(2))}`;
const chosen = () => models.find((model) => model.name === $("model").value) ?? models[0];

function element(kind, text = "", children = []) {
  const made = document.createElement(kind);
  made.textContent = text;
  made.append(...children);
  return made;
}

async function ask(path, body) {
  const key = sessionStorage.getItem("key");
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", body, headers });
  } catch {
    throw new Error("The server cannot be reached.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const again = response.headers.get("retry-after");
  const error = new Error((answer.error ?? `The server answers ${response.status}`) + (again ? ` (again in ${again} s)` : ""));
  error.status = response.status;
  throw error;
}

function form(file) {
  const body = new FormData();
  body.append("pictures", file, file.name || "pasted picture");
  return body;
}

// ---- models

async function begin() {
  try {
    ({ models } = await ask("v1/models"));
  } catch (error) {
    if (error.status !== 401) return complain(error.message);
    if (sessionStorage.getItem("key")) complain("The server does not know this key.");
    $("key").hidden = false;
    $("main").inert = true;
    return $("secret").focus();
  }
  $("key").hidden = true;
  $("main").inert = false;
  complain("");
  $("model").replaceChildren(...models.map((model) => new Option(model.name, model.name)));
  $("which").hidden = models.length < 2;
  tellModel();
}

function tellModel() {
  const { name, network, task, classes, version } = chosen();
  const what = task === "regression" ? `${classes.length} number${classes.length > 1 ? "s" : ""}` : `${classes.length} classes`;
  $("about").textContent = `${models.length < 2 ? `${name}: ` : ""}${network}, ${task}, ${what}, version ${version}`;
}

// ---- pictures in

function add(files) {
  for (const file of files) waiting = waiting.then(() => answer(file)).catch((error) => complain(error.message));
}

async function answer(file) {
  if (!models.length) await begin();  // the server may not have been reached before
  if (!models.length) return;
  const model = chosen();
  const entry = { file, address: URL.createObjectURL(file), model, answer: null, target: null, why: null, problem: "", seconds: 0 };
  entries = [entry, ...entries];
  for (const old of entries.splice(KEPT)) URL.revokeObjectURL(old.address);
  show(entry);
  await predict(entry);
}

async function predict(entry) {
  const { model, file } = entry;
  const began = performance.now();
  try {
    const query = new URLSearchParams({ model: model.name, masks: model.colours.length > 0 });
    const { predictions, version } = await ask(`v1/predict?${query}`, form(file));
    Object.assign(entry, { answer: predictions[0], version, seconds: (performance.now() - began) / 1000 });
  } catch (error) {
    entry.problem = error.message;
  }
  if (current === entry) show(entry);
  else tellHistory();
  if (entry.answer) await explain(entry);
}

async function explain(entry) {
  const { model, file, target } = entry;
  if (!model.explains) return;
  const query = new URLSearchParams({ model: model.name, ...(target === null ? {} : { target }) });
  try {
    Object.assign(entry, { why: await ask(`v1/explain?${query}`, form(file)), whyProblem: "" });
  } catch (error) {
    Object.assign(entry, { why: null, whyProblem: error.message });
  }
  if (current === entry) tellWhy(entry);
}

// ---- answers out

function complain(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

function show(entry) {
  current = entry;
  const { answer, problem, file } = entry;
  $("picture").hidden = false;
  $("invitation").hidden = true;
  $("drop").classList.add("shown");
  if ($("image").src !== entry.address) {
    $("image").src = entry.address;
    $("image").alt = file.name || "the pasted picture";
  }
  $("name").textContent = file.name;
  complain(problem);
  $("waiting").hidden = Boolean(answer || problem);
  $("waiting").textContent = "Looking at the picture";
  $("waiting").classList.add("busy");
  tellAnswer(entry);
  tellBoxes();
  tellWhy(entry);
  tellHistory();
}

// What is told in one line: [the answer, what is said of it].
function headline({ answer, model }) {
  const { classes = [], probabilities = [], values, boxes = [], embedding } = answer;
  if (embedding) return ["An embedding", `${embedding.length} numbers`];
  if (values) {
    const [name, value] = Object.entries(values)[0];
    return [name, model.task === "segmentation" ? percent(value) : number(value)];
  }
  if (model.task === "detection") {
    const counts = Map.groupBy(boxes, (_, place) => classes[place]);
    return [[...counts].map(([name, found]) => `${found.length} ${name}`).join(", ") || "Nothing found", ""];
  }
  return classes.length ? [classes[0], percent(probabilities[0])] : ["Nothing that this network knows", ""];
}

function tellAnswer(entry) {
  const { answer, model, version, seconds } = entry;
  $("first").hidden = !answer;
  $("bars").replaceChildren();
  $("bars").classList.toggle("many", model.colours.length > 0);
  $("note").textContent = "";
  if (!answer) return;
  const [said, more] = headline(entry);
  $("first").replaceChildren(`${said} `, element("small", more));
  const { classes = [], probabilities = [], values = {}, boxes } = answer;
  const told = Object.entries(values);
  if (model.task === "segmentation") $("bars").append(...told.map(([name, share]) => bar(name, share, percent(share), colour(model, name))));
  else $("bars").append(...told.slice(1).map(([name, value]) => element("li", "", [element("span", name), element("b", number(value))])));
  $("bars").append(...classes.map((name, place) => {
    const line = bar(name, probabilities[place], percent(probabilities[place]), boxes && colour(model, name));
    if (boxes) point(line, place);
    return line;
  }));
  const notes = [];
  if (model.task === "segmentation") notes.push("Shares of the pixels");
  else if (classes.length) {
    notes.push(model.calibrated ? "Probabilities are calibrated on validation pictures" : "Probabilities are the network's own, not calibrated");
    if (model.task === "multilabel") notes.push("classes that reach their thresholds");
    else if (classes.length < model.classes.length && !boxes) notes.push(`the ${classes.length} most probable of ${model.classes.length} classes`);
  }
  const time = seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
  $("note").textContent = `${notes.length ? `${notes.join("; ")}. ` : ""}Answered in ${time} by version ${version}.`;
}

const colour = (model, name) => model.colours[model.classes.indexOf(name)];

// Pointing at a line, or moving to it by the keyboard, marks its box.
function point(line, place) {
  line.tabIndex = 0;
  const mark = (on) => () => $("boxes").children[place]?.classList.toggle("marked", on);
  for (const event of ["mouseenter", "focus"]) line.addEventListener(event, mark(true));
  for (const event of ["mouseleave", "blur"]) line.addEventListener(event, mark(false));
}

function bar(name, share, text, ink) {
  const track = element("div", "", [element("i")]);
  track.className = "track";
  track.style.setProperty("--v", Math.min(Math.max(share, 0), 1));
  const line = element("li", "", [element("span", name), element("b", text), track]);
  if (ink) {
    line.className = "coloured";
    line.style.setProperty("--c", ink);
  }
  return line;
}

function tellBoxes() {
  const { boxes = [], masks = [], classes, probabilities } = current?.answer ?? {};
  const { naturalWidth: width, naturalHeight: height } = $("image");
  $("boxes").replaceChildren();
  if (!width) return;
  $("boxes").classList.toggle("quiet", boxes.length > LABELLED);
  $("boxes").append(...boxes.map(([left, top, right, bottom], place) => {
    const label = element("span", `${classes[place]} ${percent(probabilities[place])}`);
    const box = element("div", "", [label]);
    box.style.setProperty("--c", colour(current.model, classes[place]));
    const sides = { left: left / width, top: top / height, width: (right - left) / width, height: (bottom - top) / height };
    for (const [side, share] of Object.entries(sides)) box.style[side] = `${100 * share}%`;
    if (top / height < 0.08) box.classList.add("high");  // no room for a label above it
    if (left / width > 0.75) box.classList.add("right");
    if (masks[place]) {
      const tint = element("i");
      tint.style.maskImage = `url(${masks[place]})`;
      box.append(tint);
    }
    return box;
  }));
}

function tellWhy(entry) {
  const { why, whyProblem, answer, model, target } = entry;
  const mask = answer?.mask;
  $("heat").hidden = $("strength").hidden = !why && !mask;
  if (mask || why) $("heat").src = mask ?? why.heat;
  $("layer").textContent = mask ? "Mask" : "Heat map";
  if (mask) placeOver(1, 1);
  else if (why) placeHeat(model);
  fade();
  $("why").hidden = !model.explains || !answer;
  $("parts").hidden = !why?.blocks.length;
  $("blocks").replaceChildren();
  if ($("why").hidden) return;
  const names = Object.keys(answer.values ?? {}).concat(answer.classes ?? []);
  $("wherefore").hidden = !names.length;
  $("target").replaceChildren(...names.map((name) => new Option(name, name)));
  $("target").value = target ?? why?.explained ?? names[0] ?? "";
  $("because").textContent = whyProblem || (why ? "Orange marks the parts that speak for it." : "Looking for reasons");
  if (!why) return;
  $("value-name").textContent = answer.values ? "the number" : "the logit";
  const most = Math.max(...why.blocks.map((block) => block.ratio ?? 0), 1e-9);
  $("blocks").replaceChildren(...why.blocks.map(({ block, ratio, change }) => {
    const line = bar(block, (ratio ?? 0) / most, ratio?.toFixed(2) ?? "-");
    line.append(line.children[1]);  // the number comes after its bar
    line.append(element("b", change === null ? "-" : signed(change)));
    return line;
  }));
}

// The heat map lies over what the network sees: the middle of the picture, after it was resized to cover size / crop.
function placeHeat({ size: [height, width], crop }) {
  const { naturalWidth: W, naturalHeight: H } = $("image");
  if (!W) return;
  const scale = Math.max(height / crop / H, width / crop / W);
  placeOver(width / scale / W, height / scale / H);
}

// The layer over the middle of the picture, such shares of its sides wide and high.
function placeOver(w, h) {
  const style = { left: (1 - w) / 2, top: (1 - h) / 2, width: w, height: h };
  for (const [side, share] of Object.entries(style)) $("heat").style[side] = `${100 * share}%`;
  fade();
}

// How much of the layer is seen; the colours of the picture fade meanwhile, so that those of a heat map stand out.
function fade() {
  const share = $("opacity").value / 100;
  $("heat").style.opacity = share;
  $("image").style.filter = $("heat").hidden || current?.answer?.mask ? "" : `grayscale(${Math.min(1.5 * share, 1)})`;
}

function tellHistory() {
  $("past").hidden = !entries.length;
  $("history").replaceChildren(...entries.map((entry) => {
    const { answer, problem, file, address } = entry;
    const image = element("img");
    image.alt = file.name;
    image.addEventListener("load", () => image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) <= TINY));
    image.src = address;
    const [said, more] = answer ? headline(entry) : [problem ? "no answer" : "...", ""];
    const button = element("button", "", [image, element("span", said), element("small", more)]);
    button.type = "button";
    if (entry === current) button.setAttribute("aria-current", "true");
    button.addEventListener("click", () => show(entry));
    return element("li", "", [button]);
  }));
}

// ---- what people do

$("choose").addEventListener("click", () => $("files").click());
for (const input of [$("files"), $("capture")]) {
  input.addEventListener("change", () => {
    add([...input.files]);
    input.value = "";
  });
}
let depth = 0;  // of the elements that what is dragged is over
addEventListener("dragenter", () => $("drop").classList.toggle("over", ++depth > 0));
addEventListener("dragleave", () => $("drop").classList.toggle("over", --depth > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  depth = 0;
  $("drop").classList.remove("over");
  if (!$("main").inert) add([...event.dataTransfer.files]);
});
addEventListener("paste", (event) => {
  if (!$("main").inert) add([...event.clipboardData.files]);
});
$("image").addEventListener("load", () => {
  $("image").classList.toggle("tiny", Math.max($("image").naturalWidth, $("image").naturalHeight) <= TINY);
  tellBoxes();
  if (current?.why && !current.answer.mask) placeHeat(current.model);
});
$("image").addEventListener("error", () => {
  if (current) $("name").textContent = `${current.file.name} (this browser cannot show it)`;
});
$("opacity").addEventListener("input", fade);
$("target").addEventListener("change", () => {
  const entry = current;
  entry.target = $("target").value;
  $("because").textContent = "Looking for reasons";
  explain(entry);
});
$("model").addEventListener("change", () => {
  tellModel();
  if (current) add([current.file]);
});
$("forget").addEventListener("click", () => {
  for (const entry of entries) URL.revokeObjectURL(entry.address);
  entries = [];
  current = null;
  $("image").removeAttribute("src");
  for (const id of ["picture", "past", "first", "why"]) $(id).hidden = true;
  for (const id of ["invitation", "waiting"]) $(id).hidden = false;
  $("waiting").textContent = "The answer appears here.";
  $("waiting").classList.remove("busy");
  $("drop").classList.remove("shown");
  $("bars").replaceChildren();
  $("note").textContent = "";
  complain("");
  $("choose").focus();
});
$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", $("secret").value.trim());
  begin();
});

// A phone's own camera is better than ours; elsewhere there is the camera of the browser, where it allows one.
$("photograph").addEventListener("click", async () => {
  if (matchMedia("(pointer: coarse)").matches || !navigator.mediaDevices?.getUserMedia) return $("capture").click();
  try {
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 } } });
  } catch {
    return complain("There is no camera that this page may use.");
  }
  $("camera").showModal();
});
$("shoot").addEventListener("click", () => {
  const canvas = element("canvas");
  [canvas.width, canvas.height] = [$("video").videoWidth, $("video").videoHeight];
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  canvas.toBlob((blob) => add([new File([blob], "photograph.jpg", { type: "image/jpeg" })]), "image/jpeg", 0.92);
  $("camera").close();
});
$("cancel").addEventListener("click", () => $("camera").close());
$("camera").addEventListener("close", () => {
  for (const track of $("video").srcObject?.getTracks() ?? []) track.stop();
  $("video").srcObject = null;
});

const THEMES = ["system", "light", "dark"];
function setTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("theme").textContent = `Theme: ${theme}`;
  localStorage.setItem("theme", theme);
}
$("theme").addEventListener("click", () => {
  setTheme(THEMES[(THEMES.indexOf(localStorage.getItem("theme")) + 1) % THEMES.length]);
});
setTheme(THEMES.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "system");

begin();
