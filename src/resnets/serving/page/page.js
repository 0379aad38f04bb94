// Pictures are sent to this server one at a time; answers and the history live in this tab and end with it.

const $ = (id) => document.getElementById(id);
const KEPT = 24;  // pictures of the history
const TOP = 5;  // classes that are shown
const TINY = 128;  // pixels; up to this side a picture is shown enlarged, pixel by pixel

let models = [];
let explains = false;
let entries = [];  // of the history, the latest first
let current = null;
let waiting = Promise.resolve();  // pictures are asked about one after the other

const percent = (share) => {
  const text = (100 * share).toFixed(1);
  if (share < 1 && text === "100.0") return "> 99.9 %";
  return share > 0 && text === "0.0" ? "< 0.1 %" : `${text} %`;
};
const number = (value) => Number(value.toPrecision(4)).toString();
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
    ({ models, explains } = await ask("v1/models"));
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
  for (const file of files) waiting = waiting.then(() => answer(file));
}

async function answer(file) {
  const model = chosen();
  const entry = { file, address: URL.createObjectURL(file), model, answer: null, why: null, problem: "", seconds: 0 };
  entries = [entry, ...entries];
  for (const old of entries.splice(KEPT)) URL.revokeObjectURL(old.address);
  show(entry);
  await predict(entry);
}

async function predict(entry) {
  const { model, file } = entry;
  const began = performance.now();
  try {
    const query = new URLSearchParams({ model: model.name, top: TOP });
    const { predictions, version } = await ask(`v1/predict?${query}`, form(file));
    Object.assign(entry, { answer: predictions[0], version, seconds: (performance.now() - began) / 1000 });
  } catch (error) {
    entry.problem = error.message;
  }
  if (current === entry) show(entry);
  else tellHistory();
  if (!explains || !entry.answer) return;
  try {
    entry.why = await ask(`v1/explain?${new URLSearchParams({ model: model.name })}`, form(file));
  } catch (error) {
    entry.whyProblem = error.message;
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

function tellAnswer({ answer, model, version, seconds }) {
  $("first").hidden = !answer;
  $("bars").replaceChildren();
  $("note").textContent = "";
  if (!answer) return;
  const time = `Answered in ${seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`} by version ${version}.`;
  if (answer.values) {
    const [[name, value], ...others] = Object.entries(answer.values);
    $("first").replaceChildren(`${name} `, element("small", number(value)));
    $("bars").replaceChildren(...others.map(([label, more]) => element("li", "", [element("span", label), element("b", number(more))])));
    $("note").textContent = time;
    return;
  }
  const { classes = [], probabilities = [] } = answer;
  if (!classes.length) {
    $("first").textContent = "Nothing that this network knows";
    $("note").textContent = time;
    return;
  }
  $("first").replaceChildren(`${classes[0]} `, element("small", percent(probabilities[0])));
  $("bars").replaceChildren(...classes.map((name, place) => bar(name, probabilities[place], percent(probabilities[place]))));
  const calibrated = model.calibrated
    ? "Probabilities are calibrated on validation pictures"
    : "Probabilities are the network's own, not calibrated";
  const only = classes.length < model.classes.length && !answer.boxes ? `; the ${classes.length} most probable of ${model.classes.length} classes` : "";
  $("note").textContent = `${calibrated}${only}. ${time}`;
}

function bar(name, share, text) {
  const track = element("div", "", [element("i")]);
  track.className = "track";
  track.style.setProperty("--v", Math.min(Math.max(share, 0), 1));
  return element("li", "", [element("span", name), element("b", text), track]);
}

function tellBoxes() {
  const { boxes = [] } = current?.answer ?? {};
  const { naturalWidth: width, naturalHeight: height } = $("image");
  $("boxes").replaceChildren();
  if (!boxes.length || !width) return;
  $("boxes").setAttribute("viewBox", `0 0 ${width} ${height}`);
  for (const [left, top, right, bottom] of boxes) {
    for (const kind of ["under", "over"]) {
      const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const sides = { class: kind, x: left, y: top, width: right - left, height: bottom - top };
      for (const [side, value] of Object.entries(sides)) rect.setAttribute(side, value);
      $("boxes").append(rect);
    }
  }
}

function tellWhy(entry) {
  const { why, whyProblem, answer, model } = entry;
  $("why").hidden = !explains || !answer;
  $("heat").hidden = $("strength").hidden = !why;
  $("blocks-title").hidden = $("blocks-note").hidden = !why?.blocks.length;
  $("blocks").replaceChildren();
  if ($("why").hidden) return;
  $("because").textContent = whyProblem ?? (why ? `What speaks for ${why.explained} is orange.` : "Looking for reasons");
  if (!why) return;
  $("heat").src = why.heat;
  placeHeat(model);
  const most = Math.max(...why.blocks.map((block) => block.ratio), 1e-9);
  $("blocks").replaceChildren(...why.blocks.map(({ block, ratio, change }) => {
    const line = bar(block, ratio / most, ratio.toFixed(2));
    line.append(line.children[1]);  // the number comes after its bar
    if (change !== null && change !== undefined) line.title = `${why.explained} changes by ${number(change)} without this block`;
    return line;
  }));
}

// The heat map lies over what the network sees: the middle of the picture, after it was resized to cover size / crop.
function placeHeat({ size: [height, width], crop }) {
  const { naturalWidth: W, naturalHeight: H } = $("image");
  if (!W) return;
  const scale = Math.max(height / crop / H, width / crop / W);
  const [w, h] = [width / scale / W, height / scale / H];
  const style = { left: (1 - w) / 2, top: (1 - h) / 2, width: w, height: h };
  for (const [side, share] of Object.entries(style)) $("heat").style[side] = `${100 * share}%`;
  $("heat").style.opacity = $("opacity").value / 100;
}

function tellHistory() {
  $("past").hidden = !entries.length;
  $("history").replaceChildren(...entries.map((entry) => {
    const { answer, problem, file, address } = entry;
    const image = element("img");
    image.alt = file.name;
    image.addEventListener("load", () => image.classList.toggle("tiny", Math.max(image.naturalWidth, image.naturalHeight) <= TINY));
    image.src = address;
    const values = Object.entries(answer?.values ?? {})[0];
    const said = values ? values[0] : answer?.classes?.[0] ?? (problem ? "no answer" : "...");
    const surely = values ? number(values[1]) : answer?.probabilities?.length ? percent(answer.probabilities[0]) : "";
    const button = element("button", "", [image, element("span", said), element("small", surely)]);
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
  if (current?.why) placeHeat(current.model);
});
$("image").addEventListener("error", () => {
  if (current) $("name").textContent = `${current.file.name} (this browser cannot show it)`;
});
$("opacity").addEventListener("input", () => ($("heat").style.opacity = $("opacity").value / 100));
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
