// The prediction of an image: its class, bars, set, and the command that asks for it.

import { predictPath, token } from "./api.js";
import { bars, element, factor, percent } from "./bars.js";

// Joint classes that are shown at first.
const MOST_JOINT = 5;
// Classes of a set that are shown; the rest is counted.
const MOST_IN_SET = 30;

const $ = (id) => document.getElementById(id);

// Writes a prediction into the page.
//
// `image`: the prediction of the image, as `/predict` responds; `level`: that of its set, if it has one.
export function showPrediction(item, { image, seconds }, model, level) {
  const own = image.probabilities?.[image.index]?.probability;
  const share = own === undefined ? "" : percent(own);
  $("headline").replaceChildren(image.predicted, " ", element("small", { textContent: share }));
  $("number").hidden = !image.number;
  if (image.number) $("number").textContent = `Predicted ${image.number.factor}: ${image.number.value.toFixed(1)}`;
  const factors = image.factors ?? [];
  $("factors").replaceChildren(...factors.map(factor));
  $("joint").hidden = factors.length < 2;
  if (factors.length >= 2) $("joint-bars").replaceChildren(...bars(image.probabilities, image.predicted, MOST_JOINT));
  showSet(image);
  const time = seconds < 1 ? `${Math.round(1000 * seconds)} ms` : `${seconds.toFixed(1)} s`;
  $("timing").textContent = `${time} with sending`;
  $("curl").textContent = curl(item, model, level);
  const set = image.set ? ` The set has ${image.set.length} of ${image.probabilities.length} classes.` : "";
  $("announce").textContent = `${item.name}: ${image.predicted}, ${share}.${set}`;
}

function showSet(image) {
  $("sets").hidden = !image.set;
  if (!image.set) return;
  const n = image.set.length;
  const all = image.probabilities.length;
  const many = n === all ? `all ${all} classes` : n === 1 ? "one class" : `${n} of ${all} classes`;
  const text = $("level").selectedOptions[0].textContent;
  const size = many[0].toUpperCase() + many.slice(1);
  $("set-text").textContent = `${size}. About ${text} of the sets of this level hold the true class.`;
  const chip = (name) =>
    element("li", { className: name === image.predicted ? "predicted" : "", textContent: name });
  const more = element("li", { className: "rest", textContent: `and ${n - MOST_IN_SET} more` });
  const rest = n > MOST_IN_SET ? [more] : [];
  $("set").replaceChildren(...image.set.slice(0, MOST_IN_SET).map(chip), ...rest);
}

// The same request for a shell.
function curl(item, model, level) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const url = new URL(predictPath(model, level), location.href).href;
  const lines = [`curl --data-binary ${quoted(`@${item.name}`)}`];
  lines.push(`-H 'Content-Type: ${item.file.type || "application/octet-stream"}'`);
  if (token() !== null) lines.push(`-H "Authorization: Bearer $TOKEN"`);
  return [...lines, quoted(url)].join(" \\\n  ");
}
