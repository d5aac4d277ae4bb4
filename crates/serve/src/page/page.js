// The page: images in, predictions out. Each image is one request, and the server batches them.

import * as api from "./api.js";
import { element } from "./bars.js";
import * as camera from "./camera.js";
import { showPrediction } from "./result.js";

// How many requests are on their way at once.
const MOST_AT_ONCE = 4;
// How often a request is repeated by itself when the server is busy.
const MOST_TRIES = 5;
// What is drawn larger when it is smaller than this, in CSS pixels.
const SMALL = 240;

const $ = (id) => document.getElementById(id);

const state = {
  models: [],
  model: null,
  limits: {},
  // Each: { id, file, name, url, outcomes: Map of key -> { image, seconds } or { failure }, maps: Map }
  items: [],
  selected: null,
  // Whether the server explains; known to be false once it has refused.
  explains: true,
};
let lastId = 0;
let nRunning = 0;

// What an outcome depends on besides the image.
const level = () => (state.model?.has_sets ? $("level").value : "");
const key = () => `${state.model?.name}\n${level()}`;
const outcomeOf = (item) => item?.outcomes.get(key());

// --- the server ---

async function connect() {
  try {
    const { models, limits } = await api.models();
    state.limits = limits;
    setModels(models);
  } catch (error) {
    return stopWorking(error);
  }
  $("token-form").hidden = true;
  $("unreachable").hidden = true;
  $("work").hidden = false;
  $("forget").hidden = api.token() === null;
  render();
  work();
}

function setModels(models) {
  state.models = models;
  const current = state.model?.name;
  state.model = models.find((it) => it.name === current) ?? models[0] ?? null;
  const option = ({ name }) =>
    element("option", { value: name, textContent: name, selected: name === state.model.name });
  $("model").replaceChildren(...models.map(option));
  $("models").hidden = models.length < 2;
  $("only-model").hidden = models.length !== 1;
  $("only-model").textContent = models.length === 1 ? `Model: ${models[0].name}` : "";
}

// Asks for the token, or tells that the server is away; the images stay.
function stopWorking(error) {
  if (!(error instanceof api.Failure)) throw error;
  $("work").hidden = true;
  $("forget").hidden = true;
  if (error.needsToken) {
    const wasRefused = api.token() !== null;
    api.setToken(null);
    $("unreachable").hidden = true;
    $("token-form").hidden = false;
    $("token-error").textContent = wasRefused ? "The server does not accept this token." : "";
    $("token").focus();
    $("token").select();
  } else {
    $("unreachable").querySelector("h2").textContent = error.title.replace(/\.$/, "");
    $("unreachable-why").textContent = error.detail;
    $("token-form").hidden = true;
    $("unreachable").hidden = false;
    $("reconnect").focus();
  }
}

// --- images ---

function problemOf(file) {
  const { max_body_bytes: most } = state.limits;
  if (file.size === 0) return "The file is empty.";
  if (most && file.size > most) {
    const mib = (it) => `${(it / 2 ** 20).toFixed(1)} MiB`;
    return `The file has ${mib(file.size)}; the server takes at most ${mib(most)}.`;
  }
  if (file.type && !file.type.startsWith("image/")) return "This file is not an image.";
  return null;
}

function add(files) {
  const notes = [];
  const most = state.limits.max_images ?? 64;
  const room = Math.max(most - state.items.length, 0);
  const taken = files.slice(0, room);
  if (taken.length < files.length) {
    notes.push(`Only ${most} images at a time: ${files.length - taken.length} were left out.`);
  }
  let first = null;
  for (const file of taken) {
    const problem = problemOf(file);
    if (problem) {
      notes.push(`${file.name}: ${problem}`);
      continue;
    }
    lastId += 1;
    const name = file.name || `image ${lastId}`;
    const item = { id: lastId, file, name, url: URL.createObjectURL(file), outcomes: new Map(), maps: new Map() };
    state.items.push(item);
    first ??= item;
  }
  $("notice").textContent = notes.join(" ");
  if (first) {
    state.selected = first;
    addThumbnails();
    render();
    work();
  }
}

function clear() {
  for (const item of state.items) {
    item.isRemoved = true;
    URL.revokeObjectURL(item.url);
    item.maps.forEach((it) => [it?.map, it?.image].forEach((url) => url && URL.revokeObjectURL(url)));
  }
  state.items = [];
  state.selected = null;
  $("strip").replaceChildren();
  $("notice").textContent = "";
  render();
  $("files").focus();
}

// --- predictions ---

// Predicts whatever has no outcome yet, the selected image first.
function work() {
  const wanted = key();
  if (!state.model) return;
  const isOpen = (it) => !it.outcomes.has(wanted) && it.running !== wanted;
  while (nRunning < MOST_AT_ONCE) {
    const item = [state.selected, ...state.items].find((it) => it && isOpen(it));
    if (!item || $("work").hidden) return;
    nRunning += 1;
    item.running = wanted;
    predict(item, wanted, state.model.name, level()).finally(() => {
      nRunning -= 1;
      if (item.running === wanted) item.running = null;
      work();
    });
  }
}

async function predict(item, wanted, model, sets) {
  for (let n = 1; ; n += 1) {
    const began = performance.now();
    try {
      const image = await api.predict(item.file, model, sets);
      item.outcomes.set(wanted, { image, seconds: (performance.now() - began) / 1000 });
      break;
    } catch (error) {
      if (!(error instanceof api.Failure)) {
        item.outcomes.set(wanted, { failure: new api.Failure("This page failed.", String(error), -1) });
        break;
      }
      if (error.needsToken) return stopWorking(error);
      if (item.isRemoved) return;
      if (![429, 503].includes(error.status) || n === MOST_TRIES) {
        item.outcomes.set(wanted, { failure: error });
        break;
      }
      item.waits = { seconds: error.waitSeconds, title: error.title };
      renderIfShown(item);
      await new Promise((done) => setTimeout(done, 1000 * error.waitSeconds));
      item.waits = null;
      if (item.isRemoved) return;
    }
  }
  label(item);
  renderIfShown(item);
}

function retry() {
  for (const item of state.items) {
    if (outcomeOf(item)?.failure?.isTemporary) item.outcomes.delete(key());
  }
  render();
  work();
}

// --- what is shown ---

function renderIfShown(item) {
  if (item === state.selected) render();
}

function render() {
  const item = state.selected;
  document.body.classList.toggle("has-images", state.items.length > 0);
  $("viewer").hidden = !item;
  $("empty").hidden = Boolean(item);
  $("strip-field").hidden = state.items.length < 2;
  $("strip-count").textContent = `(${state.items.length})`;
  if (item) {
    const input = document.querySelector(`#strip input[value="${item.id}"]`);
    if (input) input.checked = true;
  }
  showOutcome(item, outcomeOf(item));
  showExplanation();
}

// Shows an image, or what the network reads of it.
function showImage(item, url = item.url) {
  const image = $("image");
  if (image.dataset.url === url) return;
  image.dataset.url = url;
  image.style.width = "";
  $("no-preview").hidden = true;
  $("layers").hidden = false;
  image.onload = () => {
    const larger = SMALL / Math.max(image.naturalWidth, image.naturalHeight, 1);
    if (larger > 1) image.style.width = `${Math.round(image.naturalWidth * larger)}px`;
  };
  image.onerror = () => {
    $("no-preview").hidden = false;
    $("layers").hidden = true;
  };
  image.alt = `The image ${item.name}`;
  image.src = url;
  $("caption").textContent = url === item.url ? item.name : `${item.name}, as the network reads it`;
}

function addThumbnails() {
  const shown = new Set([...document.querySelectorAll("#strip input")].map((it) => it.value));
  for (const item of state.items.filter((it) => !shown.has(String(it.id)))) {
    const id = `item-${item.id}`;
    const input = element("input", { type: "radio", name: "item", id, value: item.id, className: "hidden-input" });
    input.addEventListener("change", () => {
      state.selected = item;
      render();
      work();
    });
    const thumbnail = element("img", { alt: "", loading: "lazy", decoding: "async", src: item.url });
    thumbnail.addEventListener("error", () => { thumbnail.style.visibility = "hidden"; });
    const name = element("span", { className: "name", textContent: item.name, title: item.name });
    const text = element("span", { className: "outcome" });
    const box = element("div", { className: "item" }, input, element("label", { htmlFor: id }, thumbnail, name, text));
    item.box = box;
    $("strip").append(box);
  }
}

// Writes the prediction of an image, or why it has none, below its thumbnail.
function label(item) {
  const outcome = outcomeOf(item);
  if (!item.box) return;
  item.box.classList.toggle("failed", Boolean(outcome?.failure));
  const text = item.box.querySelector(".outcome");
  text.textContent = outcome?.failure?.title ?? outcome?.image?.predicted ?? "";
  text.title = outcome?.failure?.detail ?? "";
}

function showOutcome(item, outcome) {
  const isWaiting = Boolean(item) && !outcome;
  const waits = isWaiting && item.waits;
  $("busy").hidden = !isWaiting || Boolean(waits);
  $("result").hidden = !outcome?.image;
  $("failure").hidden = !(outcome?.failure || waits);
  // Contradicts a server that could not.
  $("may-read").hidden = Boolean(outcome?.failure);
  if (waits) {
    const unit = waits.seconds === 1 ? "second" : "seconds";
    fail(waits.title, `Trying again in ${waits.seconds} ${unit}.`, false);
  } else if (outcome?.failure) {
    fail(outcome.failure.title, outcome.failure.detail, outcome.failure.isTemporary);
  }
  // On a phone the prediction is below the image.
  $("summary").textContent = outcome?.image?.predicted ?? "";
  if (outcome?.image && outcome !== shownOutcome) showPrediction(item, outcome, state.model.name, level());
  shownOutcome = outcome;
}
let shownOutcome;

function fail(title, detail, canRetry) {
  if ($("failure-title").textContent !== title) $("failure-title").textContent = title;
  if ($("failure-detail").textContent !== detail) $("failure-detail").textContent = detail;
  $("retry").hidden = !canRetry;
}

// --- Grad-CAM ---

// What can be explained: the predicted level of a factor, or, by an empty name, the predicted joint class.
function targets() {
  const names = (state.model?.factors ?? []).map((it) => it.factor);
  return names.length > 1 ? [...names, ""] : names;
}

function showExplanation() {
  const item = state.selected;
  const can = Boolean(outcomeOf(item)?.image) && state.explains && state.model?.explains !== false;
  $("explain").hidden = !can;
  $("explain-options").hidden = !$("explain-on").checked;
  if (!can || !$("explain-on").checked) {
    if (item) showImage(item);
    $("map").hidden = true;
    $("explain-status").textContent = "";
    return;
  }
  const options = [...$("explain-target").options].map((it) => it.value).join("\n");
  if (options !== targets().join("\n")) {
    $("explain-target").replaceChildren(...targets().map((it) => element("option", { value: it, textContent: it || "all factors" })));
  }
  $("explain-targets").hidden = targets().length < 2;
  loadMap(item, `${state.model.name}\n${$("explain-target").value}`);
}

async function loadMap(item, wanted) {
  const isShown = () => item === state.selected && $("explain-on").checked && !$("explain").hidden
    && wanted === `${state.model.name}\n${$("explain-target").value}`;
  const [model, target] = wanted.split("\n");
  if (!item.maps.has(wanted)) {
    showImage(item);
    $("map").hidden = true;
    $("explain-status").textContent = "Computing the Grad-CAM";
    item.maps.set(wanted, null);
    try {
      const layers = ["map", "image"].map((it) => api.explain(item.file, model, target, it));
      const [map, image] = await Promise.all(layers);
      if (item.isRemoved) return;
      if (map === null) {
        state.explains = false;
        return render();
      }
      item.maps.set(wanted, { map: URL.createObjectURL(map), image: image && URL.createObjectURL(image) });
    } catch (error) {
      item.maps.delete(wanted);
      if (error.needsToken) return stopWorking(error);
      if (isShown()) $("explain-status").textContent = `${error.title ?? "This failed."} ${error.detail ?? error}`;
      return;
    }
  }
  const urls = item.maps.get(wanted);
  if (!isShown() || !urls) return;
  showImage(item, urls.image ?? item.url);
  if ($("map").src !== urls.map) $("map").src = urls.map;
  $("map").alt = `Grad-CAM for ${target || "all factors"}`;
  $("map").hidden = false;
  fade();
  $("explain-status").textContent = "";
}

function fade() {
  $("map").style.opacity = $("opacity").value / 100;
  $("opacity").setAttribute("aria-valuetext", `${$("opacity").value} percent`);
}

// --- events ---

// The files of a drop or a paste, without folders.
function filesOf(transfer) {
  const entries = [...transfer.items].filter((it) => it.kind === "file");
  const isFolder = (it) => it.webkitGetAsEntry?.()?.isDirectory ?? false;
  const folders = entries.filter(isFolder).length;
  return { files: entries.filter((it) => !isFolder(it)).map((it) => it.getAsFile()).filter(Boolean), folders };
}

function take(transfer, nothing) {
  const { files, folders } = filesOf(transfer);
  if (files.length > 0) add(files);
  else if (folders > 0) $("notice").textContent = "Folders are not read: choose the images in it.";
  else $("notice").textContent = nothing;
}

const canTake = () => !$("work").hidden && !$("camera").open;

$("files").addEventListener("change", () => {
  add([...$("files").files]);
  // The same file can be chosen again.
  $("files").value = "";
});
document.addEventListener("paste", (event) => {
  if (!canTake() || !event.clipboardData) return;
  take(event.clipboardData, "There is no image in the clipboard.");
});
let nInside = 0;
document.addEventListener("dragenter", () => {
  nInside += 1;
  if (canTake()) $("drop").classList.add("over");
});
document.addEventListener("dragleave", () => {
  nInside = Math.max(nInside - 1, 0);
  if (nInside === 0) $("drop").classList.remove("over");
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  nInside = 0;
  $("drop").classList.remove("over");
  if (canTake()) take(event.dataTransfer, "Only files can be dropped here: save the image first.");
});
$("model").addEventListener("change", () => {
  state.model = state.models.find((it) => it.name === $("model").value);
  state.items.forEach(label);
  render();
  work();
});
$("level").addEventListener("change", () => {
  state.items.forEach(label);
  render();
  work();
});
$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const typed = $("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(typed)) {
    $("token-error").textContent = "A token has only letters, digits and punctuation, without spaces.";
    return;
  }
  api.setToken(typed);
  $("token-error").textContent = "";
  connect().then(() => {
    if ($("token-form").hidden) {
      $("token").value = "";
      $("files").focus();
    }
  });
});
$("forget").addEventListener("click", () => {
  api.setToken(null);
  clear();
  connect();
});
$("reconnect").addEventListener("click", connect);
$("retry").addEventListener("click", retry);
$("clear").addEventListener("click", clear);
$("explain-on").addEventListener("change", showExplanation);
$("explain-target").addEventListener("change", showExplanation);
$("opacity").addEventListener("input", fade);
camera.connect((file) => add([file]));
connect();
